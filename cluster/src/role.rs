use crate::boot::WorkerBoot;
use crate::config::ClusterBuilder;
use crate::error::BootError;
use crate::image::{self, Image};
use crate::inheritance::{Inheritance, VARIABLE};
use crate::succession::{self, Predecessor};
use crate::sys::{FirstThread, Refused};

/// What this process is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once in the life of a process")]
pub enum Role {
    /// The process that was started by somebody else, or [succeeds](crate::ClusterHandle::upgrade)
    /// a primary. It starts the cluster.
    Primary(ClusterBuilder),
    /// A process that the primary started. It serves.
    Worker(WorkerBoot),
}

/// Tells whether this process is the primary or a worker.
///
/// Call it first in `main`, before a runtime or any other thread exists, and once. In a worker it
/// removes the environment variable by which it knows, so that children of the worker do not take
/// themselves for workers, and starts the thread that ends the process if the primary dies. In both
/// it closes for all children what was inherited beside the standard streams.
///
/// A descriptor without `FD_CLOEXEC` counts as inherited, because whatever Rust code opens has the
/// flag. So before this call nothing in the process may own such a descriptor: neither a C library
/// that opened one, nor code that took one over from the environment, as crates for socket
/// activation do. Call those afterwards, or set the flag.
///
/// # Errors
///
/// [`BootError`]: called too late or twice; the variable `CLUSTER_WORKER` was set by something else than a primary; `/proc` is
/// not mounted. All of them are reasons to exit.
pub fn role() -> Result<Role, BootError> {
    let thread = FirstThread::claim().map_err(|refused| match refused {
        Refused::Twice => BootError::CalledTwice,
        Refused::Threads(threads) => BootError::TooLate { threads },
        Refused::Proc(source) => BootError::Process { what: "the threads", source },
    })?;
    let Some(text) = thread.take_var(VARIABLE) else {
        let legacy = thread.take_var(succession::VARIABLE);
        let predecessor = legacy
            .as_ref()
            .map(|text| Predecessor::adopt(&thread, text.as_encoded_bytes()))
            .transpose()?;
        thread.seal().map_err(|source| BootError::Process { what: "the descriptors", source })?;
        if predecessor.is_some() {
            image::restore_name();
        }
        let image = Image::of_this_process()
            .map_err(|source| BootError::Process { what: "the program", source })?;
        return Ok(Role::Primary(ClusterBuilder::new(image, predecessor)));
    };
    let inheritance: Inheritance = serde_json::from_slice(text.as_encoded_bytes())
        .map_err(|source| BootError::Malformed { name: VARIABLE, source })?;
    image::restore_name();
    WorkerBoot::adopt(&thread, inheritance).map(Role::Worker)
}
