//! What a history proves against a store.

use std::fmt;

/// A law of the session stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// A session that had ended was seen alive.
    Resurrection,
    /// Two creations made the same session.
    CreatedTwice,
    /// Two deletions ended the same session.
    DeletedTwice,
    /// Two rotations replaced the same secret.
    RotatedTwice,
    /// The store accepted or showed a secret after another secret had replaced it.
    SupersededAccepted,
    /// The store refused a commit as superseded, and no rotation explains it.
    SupersededWrongly,
    /// A deletion ended a session that its claim does not reach, or kept one that it reaches.
    Claim,
    /// A read shows a principal, a generation or a former secret that fits no write.
    Identity,
    /// A session is missing, and no call explains it.
    LostSession,
    /// A read does not show the last write.
    LostWrite,
    /// A read shows a value that no write set, or that was refused.
    NeverWritten,
    /// A counter holds less than the sum of the additions.
    LostAdd,
    /// A counter holds more than the sum of the additions.
    SurplusAdd,
    /// A version went back, was made twice, or grew without a change.
    Version,
    /// A commit took effect under a version that the record did not have, or conflicted without a
    /// reason.
    Guard,
    /// A session was seen after its deadline.
    AfterDeadline,
    /// The life or an age in an answer fits no write.
    WrongTime,
    /// A list lacks a live session of its principal.
    MissingInList,
    /// A list shows a session of another principal.
    ForeignInList,
    /// A list shows a session twice.
    ListedTwice,
    /// The store refused a valid call, or reported a record as unreadable.
    Refused,
    /// A call took far longer than its deadline.
    Overdue,
}

/// A broken law, and the calls that prove it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The broken law.
    pub law: Law,
    /// The key of the session, the name of the principal, or the name of the client.
    pub of: String,
    /// What the store answered, and what was expected.
    pub text: String,
    /// The ids of the calls that prove it. The last one shows the violation.
    pub calls: Vec<u64>,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resurrection => "resurrection",
            Self::CreatedTwice => "two creations",
            Self::DeletedTwice => "deleted twice",
            Self::RotatedTwice => "rotated twice",
            Self::SupersededAccepted => "superseded accepted",
            Self::SupersededWrongly => "superseded wrongly",
            Self::Claim => "claim",
            Self::Identity => "identity",
            Self::LostSession => "lost session",
            Self::LostWrite => "lost write",
            Self::NeverWritten => "never written",
            Self::LostAdd => "lost add",
            Self::SurplusAdd => "surplus add",
            Self::Version => "version",
            Self::Guard => "guard",
            Self::AfterDeadline => "after deadline",
            Self::WrongTime => "wrong time",
            Self::MissingInList => "missing in list",
            Self::ForeignInList => "foreign in list",
            Self::ListedTwice => "listed twice",
            Self::Refused => "refused",
            Self::Overdue => "overdue",
        })
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The number of single checks.
    pub checks: u64,
    /// The violations.
    pub violations: Vec<Violation>,
    /// The number of further violations if every shown value had been on disk. None of them
    /// concerns an acknowledged write.
    pub taken_back: usize,
    /// Acknowledged writes that a failover lost, for a store that documents such losses. They are
    /// not among the violations.
    pub undone: Vec<Violation>,
}

impl Verdict {
    /// Counts one check, and records the violation if there is one.
    pub(super) fn record(&mut self, broken: Option<Violation>) {
        self.checks += 1;
        self.violations.extend(broken);
    }
}
