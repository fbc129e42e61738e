use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Slot, WorkerId};

/// The one environment variable by which a process knows that it is a worker. Removed before `main`
/// sees it again.
pub(crate) const VARIABLE: &str = "CLUSTER_WORKER";

/// Variables of a service manager that speak to the primary alone. A worker that believed them
/// would answer in its name.
pub(crate) const PRIMARY_ONLY: [&str; 6] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// What a worker must know before it can read its control socket: who it is and which descriptors
/// it was given.
///
/// The numbers are those of the primary. Nothing is moved to a fixed number in the child, because a
/// move could overwrite the descriptor through which the child reports a failed `exec`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inheritance {
    pub(crate) id: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) orphan: Duration,
    pub(crate) control: RawFd,
    pub(crate) listeners: BTreeMap<String, RawFd>,
    pub(crate) fds: BTreeMap<String, RawFd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_environment() {
        let given = Inheritance {
            id: WorkerId::new(7),
            slot: Slot::new(1),
            orphan: Duration::from_millis(1500),
            control: 9,
            listeners: BTreeMap::from([("http".to_owned(), 10)]),
            fds: BTreeMap::from([("store".to_owned(), 11)]),
        };
        let text = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<Inheritance>(&text).unwrap(), given);
    }
}
