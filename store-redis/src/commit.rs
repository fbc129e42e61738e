//! What a commit sends.

use std::time::Duration;

use redis::Cmd;
use session_core::{Change, Commit, Guard, Principal, PrincipalChange, StoreKey};

use crate::{command::millis, index::GRACE, script::COMMIT, store::Inner};

impl Inner {
    /// The command that makes a commit. `places` are the one it is at and the one it will be at; `indexed` is whose index has the latter already, and
    /// for how long.
    pub(crate) fn commit_command(
        &self,
        key: &StoreKey,
        target: Option<&StoreKey>,
        commit: &Commit,
        places: &(String, String),
        indexed: Option<&(Principal, Duration)>,
    ) -> Cmd {
        let (name, target) = (self.keys.session(key), target.map(|target| self.keys.session(target)));
        let keys = [name.as_str(), target.as_deref().unwrap_or_default()];
        let mut command = COMMIT.on(keys[..=usize::from(target.is_some())].iter().copied(), commit.bytes());
        match commit.guard {
            Guard::Any => command.arg(""),
            Guard::Version(version) => command.arg(version),
        };
        command.arg(self.limits.data_bytes);
        let values_alone = commit.is_change()
            && target.is_none()
            && commit.ttl.is_none()
            && !commit.clear
            && commit.lifetime.is_none()
            && commit.principal == PrincipalChange::Keep;
        if values_alone {
            command.arg("");
        } else {
            self.arguments_beyond_values(&mut command, commit, places, indexed);
        }
        for (name, change) in &commit.changes {
            match change {
                Change::Set(value) => command.arg("s").arg(name.as_str()).arg(value.as_str()),
                Change::Remove => command.arg("r").arg(name.as_str()).arg(""),
                Change::Add(by) => command.arg("a").arg(name.as_str()).arg(*by),
            };
        }
        command
    }

    fn arguments_beyond_values(
        &self,
        command: &mut Cmd,
        commit: &Commit,
        places: &(String, String),
        indexed: Option<&(Principal, Duration)>,
    ) {
        let flag = |set: bool| if set { "1" } else { "" };
        let marked = |text: &str| ["=", text].concat();
        command.arg("1");
        match commit.ttl {
            None => command.arg(""),
            Some(ttl) => command.arg(millis(ttl)),
        };
        command.arg(flag(commit.clear)).arg(flag(commit.is_change()));
        match &commit.lifetime {
            None => command.arg(""),
            Some(lifetime) => command.arg(marked(&lifetime.to_text())),
        };
        match &commit.principal {
            PrincipalChange::Keep => command.arg(""),
            PrincipalChange::Set(principal) => command.arg(marked(principal.as_str())),
            PrincipalChange::Unset => command.arg("-"),
        };
        command.arg(self.index_prefix());
        match indexed {
            None => command.arg("").arg(0),
            // The index has it for longer than that, so a moment between the two steps does no harm.
            Some((principal, ttl)) => command.arg(marked(principal.as_str())).arg(millis(*ttl + GRACE / 2)),
        };
        command.arg(&places.0).arg(&places.1);
    }
}
