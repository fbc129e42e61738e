//! The command for a commit: the script and its arguments.

use std::{borrow::Cow, time::Duration};

use redis::Cmd;
use session_core::{AuthenticationChange, Change, Commit, Guard, Principal, PrincipalChange};

use crate::{
    connect::{
        clock::ServerTime,
        command::millis,
        script::{ADD_ONE, COMMIT, SET_ONE, Script},
    },
    index::ENTRY_MARGIN,
};

/// A deadline that is further away from the cached time than this has certainly not passed when the
/// commit arrives. The key expires at the deadline as well, so a delayed commit cannot change an
/// expired session.
const CERTAINLY_LIVE: Duration = Duration::from_secs(10);
/// The head of a record has 4 bytes for the size of the data.
const MAX_DATA_BYTES: usize = u32::MAX as usize;

/// What the command for a commit depends on, besides the commit.
pub(crate) struct CommitContext<'c> {
    /// The name of the session's hash.
    pub(crate) session: &'c str,
    pub(crate) data_limit: usize,
    /// Whether the index has its own commands. Then the script does not write it.
    pub(crate) has_separate_index: bool,
    /// The cached time of the server.
    pub(crate) time: Option<&'c ServerTime>,
    /// The principal whose index already has the session, and for which ttl.
    pub(crate) indexed: Option<&'c (Principal, Duration)>,
}

impl CommitContext<'_> {
    /// The script for a commit, and the command that runs it.
    pub(crate) fn command(&self, commit: &Commit) -> (&'static Script, Cmd) {
        let limit = self.data_limit.min(MAX_DATA_BYTES);
        let secret = commit.secret.as_bytes();
        if let Some((script, value, text)) = one_value(commit) {
            let mut command = script.on([self.session], commit.bytes());
            // Without a cached time the script asks for the time: no deadline is later than this.
            let certain =
                self.time.map_or(1 << 47, |time| millis(CERTAINLY_LIVE) + time.micros() / 1000);
            command.arg(secret).arg(limit).arg(certain).arg(value).arg(&*text);
            if let Guard::Version(version) = commit.guard {
                command.arg(version);
            }
            return (script, command);
        }
        let mut command = COMMIT.on([self.session], commit.bytes());
        command.arg(secret).arg(limit);
        self.options(&mut command, commit);
        for (name, change) in &commit.changes {
            match change {
                Change::Set(value) => command.arg("s").arg(name.as_str()).arg(value.as_str()),
                Change::Remove => command.arg("r").arg(name.as_str()).arg(""),
                Change::Add(by) => command.arg("a").arg(name.as_str()).arg(*by),
            };
        }
        (&COMMIT, command)
    }

    /// Adds the arguments 3 to 16 of `commit.lua`.
    fn options(&self, command: &mut Cmd, commit: &Commit) {
        let flag = |set: bool| if set { "1" } else { "" };
        let marked = |text: &str| ["=", text].concat();
        match commit.guard {
            Guard::Any => command.arg(""),
            Guard::Version(version) => command.arg(version),
        };
        number(command, commit.ttl.map(millis));
        command.arg(flag(commit.clear)).arg(flag(commit.is_change()));
        command.arg(
            commit
                .attributes
                .as_ref()
                .map_or_else(String::new, |attributes| marked(&attributes.to_text())),
        );
        match &commit.principal {
            PrincipalChange::Keep => command.arg(""),
            PrincipalChange::Set(principal) => command.arg(marked(principal.as_str())),
            PrincipalChange::Unset => command.arg("-"),
        };
        command.arg(match commit.authentication() {
            AuthenticationChange::Keep => "",
            AuthenticationChange::Now => "now",
            AuthenticationChange::Clear => "none",
        });
        number(command, commit.since());
        match commit.rotate {
            None => command.arg("").arg("").arg(""),
            Some(rotation) => {
                command.arg(rotation.secret.as_bytes()).arg(rotation.generation);
                number(command, rotation.grace.map(millis))
            }
        };
        command.arg(flag(!self.has_separate_index));
        match self.indexed {
            None => command.arg("").arg(0),
            // The entry is valid for longer, so the time between the two steps does not matter.
            Some((principal, ttl)) => {
                command.arg(marked(principal.as_str())).arg(millis(*ttl + ENTRY_MARGIN / 2))
            }
        };
    }
}

/// The script, the name and the text, if the commit only sets one value or only adds to one.
fn one_value(commit: &Commit) -> Option<(&'static Script, &str, Cow<'_, str>)> {
    let Commit {
        changes,
        clear: false,
        principal: PrincipalChange::Keep,
        authenticated: false,
        rotate: None,
        attributes: None,
        ttl: None,
        ..
    } = commit
    else {
        return None;
    };
    let (name, change) = changes.first_key_value().filter(|_| changes.len() == 1)?;
    match change {
        Change::Set(value) => Some((&SET_ONE, name.as_str(), Cow::Borrowed(value.as_str()))),
        Change::Add(by) => Some((&ADD_ONE, name.as_str(), Cow::Owned(by.to_string()))),
        Change::Remove => None,
    }
}

/// Adds a number, or an empty text for `None`.
fn number(command: &mut Cmd, number: Option<impl redis::ToRedisArgs>) -> &mut Cmd {
    match number {
        None => command.arg(""),
        Some(number) => command.arg(number),
    }
}
