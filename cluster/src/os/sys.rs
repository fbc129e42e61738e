//! The only unsafe code of the crate: it removes environment variables and adopts inherited
//! descriptors, for which no safe crate exists.

#![expect(
    unsafe_code,
    reason = "environment removal and adoption of inherited descriptors have no safe interface"
)]

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::signal::SigSet;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Proof that this process has one thread and that no other caller has the same proof.
///
/// With one thread, no other code can read the environment or open a descriptor at the same time.
/// The type is `!Send`, so the proof stays on that thread.
pub(crate) struct FirstThread(std::marker::PhantomData<*const ()>);

/// Why [`FirstThread::claim`] failed.
pub(crate) enum ClaimError {
    Twice,
    Threads(usize),
    Proc(io::Error),
}

#[expect(clippy::unused_self, reason = "`self` is the proof that the call is sound")]
impl FirstThread {
    pub(crate) fn claim() -> Result<Self, ClaimError> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        let threads = fs::read_dir("/proc/self/task").map_err(ClaimError::Proc)?.count();
        if threads != 1 {
            return Err(ClaimError::Threads(threads));
        }
        if CLAIMED.swap(true, Ordering::SeqCst) {
            return Err(ClaimError::Twice);
        }
        Ok(Self(std::marker::PhantomData))
    }

    /// Unblocks all signals for this thread and for the threads and children that it starts.
    ///
    /// A process inherits the signal mask of its parent. Blocked signals never reach a handler, so
    /// a parent that blocked `SIGTERM` would make a graceful stop impossible.
    pub(crate) fn unblock_signals(&self) -> io::Result<()> {
        Ok(SigSet::empty().thread_set_mask()?)
    }

    /// Reads a variable and removes it, so that children of this process do not see it.
    pub(crate) fn take_var(&self, name: &str) -> Option<OsString> {
        let value = env::var_os(name)?;
        // SAFETY: `self` proves that no other thread can read or write the environment.
        unsafe { env::remove_var(name) };
        Some(value)
    }

    /// Sets `FD_CLOEXEC` on all inherited descriptors but the standard streams, so that children of
    /// this process inherit only what this process passes to them.
    pub(crate) fn seal(&self) -> io::Result<()> {
        for entry in fs::read_dir("/proc/self/fd")? {
            let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok())
            else {
                continue;
            };
            if fd <= 2 {
                continue;
            }
            // SAFETY: the number was listed as open, and no other thread exists that could have
            // closed it since.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            if !fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
                fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
            }
        }
        Ok(())
    }

    /// Takes ownership of a descriptor that came through `exec`, and sets `FD_CLOEXEC` on it.
    ///
    /// An open descriptor above stderr *without* `FD_CLOEXEC` is inherited, because all Rust code
    /// opens descriptors with the flag. Setting the flag also makes a second adoption of the same
    /// number fail.
    pub(crate) fn adopt(&self, fd: RawFd) -> io::Result<OwnedFd> {
        if fd <= 2 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard streams cannot be handed over",
            ));
        }
        // SAFETY: the borrow ends in this function, and no other thread exists that could close the
        // number. If the number is not open, the system call fails.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this process opened it and did not inherit it",
            ));
        }
        fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        // SAFETY: it is open and inherited, as checked above, so no code in this process owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
