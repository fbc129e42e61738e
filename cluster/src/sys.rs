//! The only unsafe code of the crate: what a re-executed process must claim from its parent, and no
//! safe crate offers.
#![expect(
    unsafe_code,
    reason = "environment removal and adoption of inherited descriptors have no safe interface"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Proof that this process has one thread and that no other caller holds the same proof.
///
/// With one thread, nobody can read the environment or open a descriptor meanwhile; as `!Send` it
/// stays on that thread.
pub(crate) struct FirstThread(std::marker::PhantomData<*const ()>);

/// Why [`FirstThread::claim`] refused.
pub(crate) enum Refused {
    Twice,
    Threads(usize),
    Proc(io::Error),
}

#[expect(clippy::unused_self, reason = "`self` is the proof that the call is sound")]
impl FirstThread {
    pub(crate) fn claim() -> Result<Self, Refused> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        let threads = fs::read_dir("/proc/self/task").map_err(Refused::Proc)?.count();
        if threads != 1 {
            return Err(Refused::Threads(threads));
        }
        if CLAIMED.swap(true, Ordering::SeqCst) {
            return Err(Refused::Twice);
        }
        Ok(Self(std::marker::PhantomData))
    }

    /// Reads a variable and removes it, so that children of this process do not see it.
    pub(crate) fn take_var(&self, name: &str) -> Option<OsString> {
        let value = env::var_os(name)?;
        // SAFETY: `self` proves that there is no other thread that could read or write the
        // environment.
        unsafe { env::remove_var(name) };
        Some(value)
    }

    /// Closes on `exec` whatever this process inherited beside the standard streams, so that its
    /// children get what they are given and nothing that somebody further up left open.
    pub(crate) fn seal(&self) -> io::Result<()> {
        for entry in fs::read_dir("/proc/self/fd")? {
            let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok())
            else {
                continue;
            };
            if fd <= 2 {
                continue;
            }
            // SAFETY: the number was listed as open, and there is no other thread that could have
            // closed it since.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            if !fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
                fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
            }
        }
        Ok(())
    }

    /// Takes ownership of a descriptor that came through `exec`, and closes it for further
    /// children.
    ///
    /// An open descriptor above stderr *without* `FD_CLOEXEC` was inherited: everything that Rust
    /// code opens carries the flag. Setting it here also makes a second adoption of the same number
    /// fail.
    pub(crate) fn adopt(&self, fd: RawFd) -> io::Result<OwnedFd> {
        if fd <= 2 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard streams are not handed over",
            ));
        }
        // SAFETY: the borrow ends in this function, where no other thread could close the number;
        // if it is not open, the system call says so.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "opened by this process, not inherited",
            ));
        }
        fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        // SAFETY: open, and inherited as shown above, so nothing in this process owns it yet.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
