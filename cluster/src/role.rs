//! Tells whether this process is the primary or a worker.

use crate::{
    builder::ClusterBuilder,
    error::BootError,
    os::{
        executable::{Executable, restore_name},
        fds::{Predecessor, SUCCESSOR_VARIABLE, WORKER_VARIABLE, WorkerBootInfo},
        sys::{ClaimError, FirstThread},
    },
    worker::WorkerBoot,
};

/// The role of this process.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process creates only one value")]
pub enum Role {
    /// The process was started by a user, a service manager or another program, or it
    /// [succeeds](crate::ClusterHandle::upgrade) a primary. It starts the cluster.
    Primary(ClusterBuilder),
    /// The primary started the process. It serves.
    Worker(WorkerBoot),
}

/// Tells whether this process is the primary or a worker.
///
/// Call it once, first in `main`, before a runtime or any other thread exists. In a worker it
/// removes the environment variable that marks the process as a worker, so that children of the
/// worker do not become workers, and starts the thread that ends the process if the primary dies.
/// In both roles it sets `FD_CLOEXEC` on all inherited descriptors but the standard streams, and
/// unblocks all signals that the parent of this process may have blocked.
///
/// A descriptor without `FD_CLOEXEC` counts as inherited, because all Rust code opens descriptors
/// with the flag. So before this call no code in the process may own a descriptor without it: for
/// example a C library that opened one, or a crate for socket activation that took one over from
/// the environment. Call such code afterwards, or set the flag.
///
/// # Errors
///
/// [`BootError`]: the function was called too late or twice; the variable `CLUSTER_WORKER` was not
/// set by a primary; `/proc` is not mounted. Exit the process after each of these errors.
pub fn role() -> Result<Role, BootError> {
    let thread = FirstThread::claim().map_err(|error| match error {
        ClaimError::Twice => BootError::CalledTwice,
        ClaimError::Threads(threads) => BootError::TooLate { threads },
        ClaimError::Proc(source) => BootError::Process { what: "the threads", source },
    })?;
    thread
        .unblock_signals()
        .map_err(|source| BootError::Process { what: "the signal mask", source })?;
    let Some(text) = thread.take_var(WORKER_VARIABLE) else {
        let manifest = thread.take_var(SUCCESSOR_VARIABLE);
        let predecessor = manifest
            .as_ref()
            .map(|text| Predecessor::adopt(&thread, text.as_encoded_bytes()))
            .transpose()?;
        thread.seal().map_err(|source| BootError::Process { what: "the descriptors", source })?;
        if predecessor.is_some() {
            restore_name();
        }
        let executable = Executable::of_this_process()
            .map_err(|source| BootError::Process { what: "the program", source })?;
        return Ok(Role::Primary(ClusterBuilder::new(executable, predecessor)));
    };
    let info: WorkerBootInfo = serde_json::from_slice(text.as_encoded_bytes())
        .map_err(|source| BootError::Malformed { name: WORKER_VARIABLE, source })?;
    restore_name();
    WorkerBoot::adopt(&thread, info).map(Role::Worker)
}
