//! What a history proves against a store.

use std::fmt;

/// Which law was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// A session that has ended was seen alive.
    Resurrection,
    /// A session was made twice: a creation changed a live one.
    CreatedTwice,
    /// Two deletions each ended the session.
    DeletedTwice,
    /// Two rotations each replaced one secret.
    RotatedTwice,
    /// A secret was the current one after it had been replaced.
    SupersededAccepted,
    /// A commit was superseded, and no rotation explains it.
    SupersededWrongly,
    /// A deletion ended a session that its claim does not reach, or did not end one that it
    /// reaches.
    Claim,
    /// A read shows a principal, a generation or a former secret that fits no write.
    Identity,
    /// A session is not there, and nothing that was asked explains it.
    LostSession,
    /// A read does not show what was written last.
    LostWrite,
    /// A read shows what nobody wrote, or what was refused.
    NeverWritten,
    /// A counter holds less than was added.
    LostAdd,
    /// A counter holds more than was added.
    SurplusAdd,
    /// A version went back, was given twice, or grew without a change.
    Version,
    /// A commit took effect under a version that was not the record's, or was refused without a
    /// reason.
    Guard,
    /// A session was seen after its deadline.
    AfterDeadline,
    /// The life or the age that was told is not the record's.
    WrongTime,
    /// A list lacks a live session of its principal.
    MissingInList,
    /// A list shows a session of another principal.
    ForeignInList,
    /// A list shows a session twice.
    ListedTwice,
    /// A call was refused, or a record could not be read, for no reason that was asked for.
    Refused,
    /// A call took far longer than its deadline.
    Overdue,
}

/// A law that was broken, and the calls that prove it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// The key of the session, or a principal.
    pub of: String,
    /// What came, and what was due.
    pub text: String,
    /// The calls that prove it; the last is where it shows.
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

/// What was checked, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many single questions were asked of the history.
    pub checks: u64,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How many more there would be if what a store shows were always on disk. None of them is
    /// about what was acknowledged.
    pub taken_back: usize,
    /// What was acknowledged and undone by a failover, of a store that documents it. None of them
    /// is among the violations, and none of the violations is explained by a failover.
    pub undone: Vec<Violation>,
}

impl Verdict {
    /// One question: `broken` tells what is wrong, if anything is.
    pub(super) fn record(&mut self, broken: Option<Violation>) {
        self.checks += 1;
        self.violations.extend(broken);
    }
}
