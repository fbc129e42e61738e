//! Whose a server is.

use std::fmt;

use super::{kind::Kind, nodes::Nodes, server::Server};

/// A server of this test, or one that somebody else runs.
#[derive(Debug)]
pub(super) enum Whose<T> {
    /// Started by this test.
    Ours(T),
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
            Self::Theirs { variable, .. } => Err(NotOurs::Theirs { variable }),
        }
    }

    pub(super) fn ours_mut(&mut self) -> Result<&mut T, NotOurs> {
        match self {
            Self::Ours(ours) => Ok(ours),
            Self::Theirs { variable, .. } => Err(NotOurs::Theirs { variable }),
        }
    }
}

impl<S: Server> Whose<Nodes<S>> {
    /// Where it comes from, for people. A URL may have a password in it, so it is not shown.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Ours(nodes) => nodes.place.description.clone(),
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

/// The `host:port` pairs of a URL that names several.
pub(super) fn hosts_of(url: &str) -> Vec<String> {
    authority(url).rsplit('@').next().unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// What stands before the hosts of a URL, with its `@`; empty if there is nothing.
pub(super) fn credentials_of(url: &str) -> &str {
    let authority = authority(url);
    authority.rfind('@').map_or("", |at| &authority[..=at])
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{credentials_of, hosts_of};

    #[test]
    fn a_url_names_several_hosts_and_one_password() {
        assert_eq!(hosts_of("redis-cluster://a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(hosts_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ["a:1", "b:2"]);
        assert_eq!(credentials_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ":secret@");
        assert_eq!(credentials_of("redis-cluster://a:1"), "");
    }
}
