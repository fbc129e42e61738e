use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use crate::error::BootError;
use crate::held::{Held, HeldFds};
use crate::sys::FirstThread;

/// The environment variable by which a primary knows that it succeeds another one.
pub(crate) const VARIABLE: &str = "CLUSTER_SUCCESSOR";

/// Version of what two primaries, of two builds perhaps, say to each other: of [`Legacy`] and of
/// the bytes below.
const VERSION: u16 = 1;

/// What a successor says when all of its workers serve.
pub(crate) const READY: u8 = b'R';

/// What it is answered if the predecessor serves on after all.
pub(crate) const NO: u8 = b'N';

/// What it is answered: from now on it is the one that counts.
pub(crate) const YOURS: u8 = b'Y';

/// What a primary leaves to its successor. The numbers are those of the descriptors, in both
/// processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Legacy {
    version: u16,
    link: RawFd,
    listeners: BTreeMap<String, RawFd>,
    fds: BTreeMap<String, RawFd>,
    held: HeldFds,
}

impl Legacy {
    pub(crate) fn new(
        link: RawFd,
        listeners: BTreeMap<String, RawFd>,
        fds: BTreeMap<String, RawFd>,
        held: HeldFds,
    ) -> Self {
        Self { version: VERSION, link, listeners, fds, held }
    }
}

/// What this primary was left by the one that it succeeds, and the way to that one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) link: UnixStream,
    pub(crate) listeners: BTreeMap<String, TcpListener>,
    pub(crate) fds: BTreeMap<String, OwnedFd>,
    pub(crate) held: Held,
}

impl Predecessor {
    pub(crate) fn adopt(thread: &FirstThread, text: &[u8]) -> Result<Self, BootError> {
        let malformed = |source| BootError::Malformed { name: VARIABLE, source };
        // First the version alone: another one may have other fields.
        let Version { version } = serde_json::from_slice(text).map_err(malformed)?;
        if version != VERSION {
            return Err(BootError::Predecessor { ours: VERSION, theirs: version });
        }
        let Legacy { link, listeners, fds, held, .. } =
            serde_json::from_slice(text).map_err(malformed)?;
        let adopt = |name: &str, fd: RawFd| {
            thread.adopt(fd).map_err(|source| BootError::Descriptor {
                name: name.to_owned(),
                fd,
                source,
            })
        };
        let all = |fds: BTreeMap<String, RawFd>| {
            fds.into_iter()
                .map(|(name, fd)| adopt(&name, fd).map(|fd| (name, fd)))
                .collect::<Result<BTreeMap<_, _>, _>>()
        };
        let link = adopt("link", link)?.into();
        let listeners = all(listeners)?.into_iter().map(|(name, fd)| (name, fd.into())).collect();
        Ok(Self { link, listeners, fds: all(fds)?, held: Held::of_predecessor(held, adopt)? })
    }
}

#[derive(Deserialize)]
struct Version {
    version: u16,
}
