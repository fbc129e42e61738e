use std::num::NonZeroUsize;

use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::WorkerId;

/// An order to a primary, or a question. The [module](super) says what each does and when it is
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Command {
    /// Asks for the state of cluster, slots and workers.
    Status,
    /// [`ClusterHandle::reload`](crate::ClusterHandle::reload).
    Reload,
    /// [`ClusterHandle::upgrade`](crate::ClusterHandle::upgrade).
    Upgrade,
    /// [`ClusterHandle::scale`](crate::ClusterHandle::scale).
    Scale {
        /// How many slots there shall be.
        workers: NonZeroUsize,
    },
    /// [`ClusterHandle::drain`](crate::ClusterHandle::drain).
    Drain {
        /// The worker.
        id: WorkerId,
    },
    /// [`ClusterHandle::kill`](crate::ClusterHandle::kill).
    Kill {
        /// The worker.
        id: WorkerId,
        /// On the wire its name, in capitals and without `SIG`.
        #[serde(
            default = "terminate",
            serialize_with = "write_signal",
            deserialize_with = "read_signal"
        )]
        signal: Signal,
    },
    /// [`ClusterHandle::shutdown`](crate::ClusterHandle::shutdown).
    Stop {
        /// How.
        #[serde(default)]
        mode: StopMode,
    },
}

/// How a cluster is told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// [`Shutdown::Graceful`](crate::Shutdown::Graceful).
    #[default]
    Graceful,
    /// [`Shutdown::Fast`](crate::Shutdown::Fast).
    Fast,
}

/// The signals that make sense for a worker.
const SIGNALS: [(&str, Signal); 12] = [
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("SEGV", Signal::SEGV),
    ("STOP", Signal::STOP),
    ("CONT", Signal::CONT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
];

impl Command {
    /// The signal of this name: in capitals, with or without `SIG`. `None` if [`Kill`](Self::Kill)
    /// does not send it.
    #[must_use]
    pub fn signal(name: &str) -> Option<Signal> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        SIGNALS.iter().find(|(of, _)| *of == name).map(|(_, signal)| *signal)
    }
}

fn terminate() -> Signal {
    Signal::TERM
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn write_signal<S: Serializer>(signal: &Signal, to: S) -> Result<S::Ok, S::Error> {
    match SIGNALS.iter().find(|(_, of)| of == signal) {
        Some((name, _)) => to.serialize_str(name),
        None => Err(serde::ser::Error::custom(format!(
            "signal {} cannot be sent, use one of {}",
            signal.as_raw(),
            names()
        ))),
    }
}

fn read_signal<'de, D: Deserializer<'de>>(from: D) -> Result<Signal, D::Error> {
    let name = String::deserialize(from)?;
    Command::signal(&name).ok_or_else(|| {
        de::Error::custom(format!("signal {name:?} cannot be sent, use one of {}", names()))
    })
}

fn names() -> String {
    SIGNALS.map(|(name, _)| name).join(", ")
}
