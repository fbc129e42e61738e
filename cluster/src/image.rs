use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fstat, stat};
use rustix::process::{getegid, geteuid, getgid, getuid};

/// A program, held open, with the arguments that this process was started with.
///
/// The descriptor names the inode, so a worker is re-executed from the same build after the file
/// was replaced or deleted.
#[derive(Debug)]
pub(crate) struct Image {
    exe: OwnedFd,
    args: Vec<OsString>,
    path: PathBuf,
}

impl Image {
    /// The program that this process runs.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let exe =
            rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let args: Vec<_> = env::args_os().collect();
        let path = path_of(&fstat(&exe)?, args.first())?;
        Ok(Self { exe, args, path })
    }

    /// The program that is now where this one was when the process started.
    pub(crate) fn at_its_path(&self) -> io::Result<Self> {
        let exe = rustix::fs::open(&self.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&exe)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        accessat(rustix::fs::CWD, through(&exe), Access::EXEC_OK, AtFlags::EACCESS)?;
        Ok(Self { exe, args: self.args.clone(), path: self.path.clone() })
    }

    /// Where the program was when the process started.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs the image again, with these arguments in place of those of this process
    /// if there are any. The path is resolved in the child before `FD_CLOEXEC` takes effect, so the
    /// worker does not inherit the descriptor.
    pub(crate) fn command(&self, args: Option<&[OsString]>) -> Command {
        let mut command = Command::new(through(&self.exe));
        if let Some((name, own)) = self.args.split_first() {
            command.arg0(name).args(args.unwrap_or(own));
        }
        command
    }
}

/// A path that leads to the inode of a descriptor of this process.
fn through(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The path that a later build will be put at. What the process was called by is better than what
/// the system says it runs: a link to the current release will lead to the next one.
fn path_of(exe: &Stat, name: Option<&OsString>) -> io::Result<PathBuf> {
    let called = name
        .map(Path::new)
        .filter(|name| name.components().count() > 1)
        .and_then(|name| absolute(name).ok());
    let same = |path: &PathBuf| {
        stat(path).is_ok_and(|at| (at.st_dev, at.st_ino) == (exe.st_dev, exe.st_ino))
    };
    // Who starts a program that runs as somebody else chooses its name as well.
    let is_own = (getuid(), getgid()) == (geteuid(), getegid());
    match called.filter(|path| is_own && same(path)) {
        Some(path) => Ok(path),
        None => env::current_exe(),
    }
}

/// Restores the name that `ps` and `top` show: after an `exec` through a descriptor it is the
/// descriptor's number.
pub(crate) fn restore_name() {
    let Some(program) = env::args_os().next() else { return };
    let Some(name) = Path::new(&program).file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Cosmetic: the kernel cuts the name at 15 bytes, and a refusal changes nothing that
        // matters.
        let _ = rustix::thread::set_name(&name);
    }
}
