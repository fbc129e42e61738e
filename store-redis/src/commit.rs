//! What a commit sends.

use std::{borrow::Cow, time::Duration};

use redis::Cmd;
use session_core::{
    AuthenticationChange, Change, Commit, Guard, Principal, PrincipalChange, StoreKey,
};

use crate::{
    clock::ServerTime,
    command::millis,
    index::MARGIN,
    script::{ADD_ONE, COMMIT, SET_ONE, Script},
    store::Inner,
};

/// A deadline that is further away than this from a recent word of the server about its time has
/// certainly not passed when a commit arrives. The key expires at the deadline as well, so a late
/// commit changes no session that the server itself would expire.
const CERTAINLY: Duration = Duration::from_secs(10);
/// The record's head holds 4 bytes of size.
const MOST_BYTES: usize = u32::MAX as usize;

impl Inner {
    /// The script that makes a commit, and the command for it. `indexed` is whose index has the
    /// session already, and for how long.
    pub(crate) fn commit_command(
        &self,
        key: &StoreKey,
        commit: &Commit,
        time: Option<&ServerTime>,
        indexed: Option<&(Principal, Duration)>,
    ) -> (&'static Script, Cmd) {
        let name = self.keys.session(key);
        let limit = self.limits.data_bytes.min(MOST_BYTES);
        let secret = commit.secret.as_bytes();
        if let Some((script, value, text)) = one_value(commit) {
            let mut command = script.on([name.as_str()], commit.bytes());
            // Without the server's time the script asks for it: no deadline is later than this.
            let certain = time.map_or(1 << 47, |time| millis(CERTAINLY) + time.micros() / 1000);
            command.arg(secret).arg(limit).arg(certain).arg(value).arg(&*text);
            if let Guard::Version(version) = commit.guard {
                command.arg(version);
            }
            return (script, command);
        }
        let mut command = COMMIT.on([name.as_str()], commit.bytes());
        command.arg(secret).arg(limit);
        self.options(&mut command, commit, indexed);
        for (name, change) in &commit.changes {
            match change {
                Change::Set(value) => command.arg("s").arg(name.as_str()).arg(value.as_str()),
                Change::Remove => command.arg("r").arg(name.as_str()).arg(""),
                Change::Add(by) => command.arg("a").arg(name.as_str()).arg(*by),
            };
        }
        (&COMMIT, command)
    }

    /// The arguments 3 to 16 of `commit.lua`.
    fn options(&self, command: &mut Cmd, commit: &Commit, indexed: Option<&(Principal, Duration)>) {
        let flag = |set: bool| if set { "1" } else { "" };
        let marked = |text: &str| ["=", text].concat();
        match commit.guard {
            Guard::Any => command.arg(""),
            Guard::Version(version) => command.arg(version),
        };
        text(command, commit.ttl.map(millis)).arg(flag(commit.clear)).arg(flag(commit.is_change()));
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
        text(command, commit.since());
        match commit.rotate {
            None => command.arg("").arg("").arg(""),
            Some(rotation) => {
                command.arg(rotation.secret.as_bytes()).arg(rotation.generation);
                text(command, rotation.grace.map(millis))
            }
        };
        command.arg(flag(!self.apart));
        match indexed {
            None => command.arg("").arg(0),
            // The index has it for longer, so a moment between the two steps does no harm.
            Some((principal, ttl)) => {
                command.arg(marked(principal.as_str())).arg(millis(*ttl + MARGIN / 2))
            }
        };
    }
}

/// The short way: the script, the name and the text, if all that a commit does is to set one value
/// or to add to one.
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

/// A number, or an empty text for none.
fn text(command: &mut Cmd, number: Option<impl redis::ToRedisArgs>) -> &mut Cmd {
    match number {
        None => command.arg(""),
        Some(number) => command.arg(number),
    }
}
