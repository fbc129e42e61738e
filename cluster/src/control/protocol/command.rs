//! The commands to a primary.

use std::num::NonZeroUsize;

use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::WorkerId;

/// A command to a primary. The [module](crate::control) describes what each does and when its reply
/// comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Command {
    /// Returns the state of the cluster, its slots and its workers.
    Status,
    /// Calls [`ClusterHandle::reload`](crate::ClusterHandle::reload).
    Reload,
    /// Calls [`ClusterHandle::upgrade`](crate::ClusterHandle::upgrade).
    Upgrade,
    /// Calls [`ClusterHandle::scale`](crate::ClusterHandle::scale).
    Scale {
        /// The wanted number of slots.
        workers: NonZeroUsize,
    },
    /// Calls [`ClusterHandle::drain`](crate::ClusterHandle::drain).
    Drain {
        /// The worker.
        id: WorkerId,
    },
    /// Calls [`ClusterHandle::kill`](crate::ClusterHandle::kill).
    Kill {
        /// The worker.
        id: WorkerId,
        /// The signal. On the wire its name, in capitals and without `SIG`.
        #[serde(
            default = "terminate",
            serialize_with = "write_signal",
            deserialize_with = "read_signal"
        )]
        signal: Signal,
    },
    /// Calls [`ClusterHandle::shutdown`](crate::ClusterHandle::shutdown).
    Stop {
        /// How the cluster stops.
        #[serde(default)]
        mode: StopMode,
    },
}

/// How a cluster stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// As [`Shutdown::Graceful`](crate::Shutdown::Graceful).
    #[default]
    Graceful,
    /// As [`Shutdown::Fast`](crate::Shutdown::Fast).
    Fast,
}

/// The signals that can be sent to a worker.
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
    /// The signal with this name: in capitals, with or without `SIG`. `None` if
    /// [`Kill`](Self::Kill) does not support it.
    #[must_use]
    pub fn signal(name: &str) -> Option<Signal> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        SIGNALS.iter().find(|(of, _)| *of == name).map(|(_, signal)| *signal)
    }
}

fn terminate() -> Signal {
    Signal::TERM
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
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
