//! Whose a server is.

use std::{fmt, path::PathBuf};

use super::{kind::Kind, nodes::Nodes, server::Server, shared::SharedServer};

/// A server of this test, or one that somebody else runs.
#[derive(Debug)]
pub(super) enum Whose<T> {
    /// Started by this test.
    Ours(T),
    /// Started for all tests of a run.
    Shared(SharedServer),
    /// Named by an environment variable.
    Theirs {
        /// Where it is.
        url: String,
        /// Which variable says so.
        variable: &'static str,
    },
}

/// The answer of a hand on a server that was not started by the test.
///
/// It displays as "not applicable: …", for a test to print before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOurs {
    /// Somebody else runs it.
    Theirs {
        /// The environment variable that named it.
        variable: &'static str,
    },
    /// There is none: the database is a file, and the test's own process reads and writes it.
    File,
}

impl<T> Whose<T> {
    /// Takes a server that runs already. It cannot be set up, so with flags the test is skipped.
    pub(super) fn taken(url: String, kind: &Kind, flags: &[&str]) -> Option<Self> {
        let variable = kind.url_variable;
        if !flags.is_empty() {
            eprintln!(
                "SKIPPED, this test sets its server up with {flags:?}: {}",
                NotOurs::Theirs { variable }
            );
            return None;
        }
        Some(Self::Theirs { url, variable })
    }

    pub(super) fn ours(&self) -> Result<&T, NotOurs> {
        match self {
            Self::Ours(ours) => Ok(ours),
            Self::Shared(shared) => shared.refuse(),
            Self::Theirs { variable, .. } => Err(NotOurs::Theirs { variable }),
        }
    }

    pub(super) fn ours_mut(&mut self) -> Result<&mut T, NotOurs> {
        match self {
            Self::Ours(ours) => Ok(ours),
            Self::Shared(shared) => shared.refuse(),
            Self::Theirs { variable, .. } => Err(NotOurs::Theirs { variable }),
        }
    }
}

impl<S: Server> Whose<Nodes<S>> {
    /// The URL by which other tests can share it, and the folder with its files.
    ///
    /// # Panics
    /// If this process has not started it.
    pub(super) fn shared_as(&self, url: String) -> (String, PathBuf) {
        match self {
            Self::Ours(nodes) => (url, nodes.place.folder().to_owned()),
            Self::Shared(_) | Self::Theirs { .. } => {
                panic!("a server that another process started is not shared again")
            }
        }
    }

    /// All that its processes have written. On a shared server that is what they have written
    /// since the test began.
    pub(super) fn output(&self) -> Result<String, NotOurs> {
        match self {
            Self::Ours(nodes) => Ok(nodes.output()),
            Self::Shared(shared) => Ok(shared.output()),
            Self::Theirs { variable, .. } => Err(NotOurs::Theirs { variable }),
        }
    }

    /// Where it comes from, for people. A URL may have a password in it, so it is not shown.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Ours(nodes) => nodes.place.description.clone(),
            Self::Shared(_) => "shared by the tests of this run".to_owned(),
            Self::Theirs { variable, .. } => format!("of {variable}"),
        }
    }
}

impl fmt::Display for NotOurs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs { variable } => {
                write!(
                    formatter,
                    "not applicable: the server of {variable} is not ours to stop, freeze or set up"
                )
            }
            Self::File => formatter.write_str("not applicable: a file has no server"),
        }
    }
}

impl std::error::Error for NotOurs {}
