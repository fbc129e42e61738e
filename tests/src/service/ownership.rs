//! The owner of a server: the test, another test, or the environment. It decides what a test may do
//! with the server.

use std::{fmt, path::PathBuf};

use super::{kind::Kind, node::Server, nodes::Nodes, shared::SharedServer};

/// A server, by who has started it.
#[derive(Debug)]
pub(super) enum ServerOwnership<S: Server> {
    /// This test has started it.
    Own(Box<Nodes<S>>),
    /// It was started for all tests of this run.
    Shared(SharedServer),
    /// It was running before, and an environment variable names it.
    External {
        /// Its URL.
        url: String,
        /// The environment variable.
        variable: &'static str,
    },
}

/// The error of a call that stops, freezes or configures a server, if the test must not do that.
///
/// It displays as "not applicable: …", for a test to print before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalServer {
    /// An environment variable names the server.
    Named {
        /// The environment variable.
        variable: &'static str,
    },
    /// The database is a file, which the process of the test reads and writes.
    File,
}

impl<S: Server> ServerOwnership<S> {
    /// The server that an environment variable names. It cannot be configured, so a test with flags
    /// is skipped.
    pub(super) fn external(url: String, kind: &Kind, flags: &[&str]) -> Option<Self> {
        let variable = kind.url_variable;
        if !flags.is_empty() {
            eprintln!(
                "SKIPPED, this test starts its server with {flags:?}: {}",
                ExternalServer::Named { variable }
            );
            return None;
        }
        Some(Self::External { url, variable })
    }

    /// The processes that this test has started.
    ///
    /// # Panics
    /// If other tests use the server at the same time.
    pub(super) fn own(&self) -> Result<&Nodes<S>, ExternalServer> {
        match self {
            Self::Own(nodes) => Ok(nodes),
            Self::Shared(shared) => shared.refuse(),
            Self::External { variable, .. } => Err(ExternalServer::Named { variable }),
        }
    }

    /// The same, to stop and start them.
    ///
    /// # Panics
    /// As [`own`](Self::own).
    pub(super) fn own_mut(&mut self) -> Result<&mut Nodes<S>, ExternalServer> {
        match self {
            Self::Own(nodes) => Ok(nodes),
            Self::Shared(shared) => shared.refuse(),
            Self::External { variable, .. } => Err(ExternalServer::Named { variable }),
        }
    }

    /// The URL by which other tests can share it, and the folder with its files.
    ///
    /// # Panics
    /// If this process has not started it.
    pub(super) fn shared_as(&self, url: String) -> (String, PathBuf) {
        match self {
            Self::Own(nodes) => (url, nodes.host.folder().to_owned()),
            Self::Shared(_) | Self::External { .. } => {
                panic!("only the process that has started a server can share it")
            }
        }
    }

    /// All that its processes have written. On a shared server that is what they have written
    /// since the test began.
    pub(super) fn output(&self) -> Result<String, ExternalServer> {
        match self {
            Self::Own(nodes) => Ok(nodes.output()),
            Self::Shared(shared) => Ok(shared.output()),
            Self::External { variable, .. } => Err(ExternalServer::Named { variable }),
        }
    }

    /// Where it comes from, for people. A URL may have a password in it, so it is not shown.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Own(nodes) => nodes.host.description.clone(),
            Self::Shared(_) => "shared by the tests of this run".to_owned(),
            Self::External { variable, .. } => format!("of {variable}"),
        }
    }
}

impl fmt::Display for ExternalServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { variable } => {
                write!(
                    formatter,
                    "not applicable: a test does not stop, freeze or configure the server of \
                     {variable}"
                )
            }
            Self::File => formatter.write_str("not applicable: a file has no server"),
        }
    }
}

impl std::error::Error for ExternalServer {}
