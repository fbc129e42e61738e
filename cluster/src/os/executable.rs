//! The program of this process, held open so that it can be started again.

use std::{
    env,
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf, absolute},
    process::Command,
};

use rustix::{
    fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fstat, stat},
    process::{getegid, geteuid, getgid, getuid},
};

/// A program file, held open, with the arguments of this process.
///
/// The descriptor refers to the inode. So a worker is started from the same build after the file
/// was replaced or deleted.
#[derive(Debug)]
pub(crate) struct Executable {
    exe: OwnedFd,
    args: Vec<OsString>,
    path: PathBuf,
}

impl Executable {
    /// The program that this process runs.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let exe =
            rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let args: Vec<_> = env::args_os().collect();
        let path = path_of(&fstat(&exe)?, args.first())?;
        Ok(Self { exe, args, path })
    }

    /// The program that is now at the path of this one.
    pub(crate) fn reopen(&self) -> io::Result<Self> {
        let exe = rustix::fs::open(&self.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&exe)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        accessat(rustix::fs::CWD, proc_path(&exe), Access::EXEC_OK, AtFlags::EACCESS)?;
        Ok(Self { exe, args: self.args.clone(), path: self.path.clone() })
    }

    /// Where the program was when the process started.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts the program again, with `args` or with the arguments of this process.
    ///
    /// The child resolves the path before `FD_CLOEXEC` takes effect, so the new program does not
    /// inherit the descriptor.
    pub(crate) fn command(&self, args: Option<&[OsString]>) -> Command {
        let mut command = Command::new(proc_path(&self.exe));
        if let Some((name, own)) = self.args.split_first() {
            command.arg0(name).args(args.unwrap_or(own));
        }
        command
    }
}

/// A path that leads to the inode of a descriptor of this process.
fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The path where later builds will be. `argv[0]` is preferred to the path that the system reports,
/// because a link to the current release then leads to the next release.
fn path_of(exe: &Stat, name: Option<&OsString>) -> io::Result<PathBuf> {
    let called = name
        .map(Path::new)
        .filter(|name| name.components().count() > 1)
        .and_then(|name| absolute(name).ok());
    let same = |path: &PathBuf| {
        stat(path).is_ok_and(|at| (at.st_dev, at.st_ino) == (exe.st_dev, exe.st_ino))
    };
    // In a set-user-id program, argv[0] comes from a user with fewer rights.
    let same_user = (getuid(), getgid()) == (geteuid(), getegid());
    match called.filter(|path| same_user && same(path)) {
        Some(path) => Ok(path),
        None => env::current_exe(),
    }
}

/// Restores the process name that `ps` and `top` show. After an `exec` through a descriptor the
/// name is the number of the descriptor.
pub(crate) fn restore_name() {
    let Some(program) = env::args_os().next() else { return };
    let Some(name) = Path::new(&program).file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Only for display. The kernel cuts the name at 15 bytes.
        let _ = rustix::thread::set_name(&name);
    }
}
