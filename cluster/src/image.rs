use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags};

/// The program that this process runs, held open, with the arguments it was started with.
///
/// The descriptor names the inode, so a worker is re-executed from the same build after the file was replaced or deleted.
#[derive(Debug)]
pub(crate) struct Image {
    exe: OwnedFd,
    args: Vec<OsString>,
}

impl Image {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let exe = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { exe, args: env::args_os().collect() })
    }

    /// A command that runs the image again. The path is resolved in the child before `FD_CLOEXEC` takes effect, so the
    /// worker does not inherit the descriptor.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.exe.as_raw_fd()));
        if let Some((name, rest)) = self.args.split_first() {
            command.arg0(name).args(rest);
        }
        command
    }
}

/// Restores the name that `ps` and `top` show: after an `exec` through a descriptor it is the descriptor's number.
pub(crate) fn restore_name() {
    let Some(program) = env::args_os().next() else { return };
    let Some(name) = Path::new(&program).file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Cosmetic: the kernel cuts the name at 15 bytes, and a refusal changes nothing that matters.
        let _ = rustix::thread::set_name(&name);
    }
}
