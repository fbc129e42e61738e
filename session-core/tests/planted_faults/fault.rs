//! The mistakes that a store can make.

/// One mistake of a store; each is one that a real store has made or could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None at all.
    Faultless,

    /// A new record is seen by the client that made it alone.
    CreatesInPrivate,
    /// `create` deletes what is there first.
    CreateOverwrites,
    /// A key that was ever used counts as taken.
    LeftoversBlock,
    /// A record without values is taken for absent.
    EmptyIsAbsent,
    /// A missing record is an error.
    MissingIsAnError,
    /// Keys are compared without regard to case.
    KeysFoldCase,
    /// The lifetime settings are not kept.
    ForgetsLifetime,
    /// `load` tells the ttl that the record was once given.
    TellsFirstTtl,
    /// `commit` answers without the ttl.
    CommitTellsNoTtl,
    /// JSON is parsed and written again.
    RewritesJson,
    /// Dots in names are replaced, as a document database asks for.
    DotsCollide,
    /// There is no cap on data.
    NoCap,
    /// Lives out of range are put into range.
    ClampsTtl,
    /// The backend is asked before the call is checked.
    ChecksAfterAsking,

    /// A commit replaces all values.
    ReplacesAll,
    /// Each change is a write of its own.
    WritesChangeByChange,
    /// Removals are not carried out.
    IgnoresRemove,
    /// A commit that removes the record's first value leaves off there.
    EndsAtTheFirstRemoved,
    /// The last value is not removed.
    KeepsOneValue,
    /// `clear` takes what the same commit sets.
    ClearsLast,
    /// A commit writes back the whole record as this client read it.
    WritesStaleCopy,
    /// A value that is there is not overwritten.
    FirstWins,
    /// The guard is not looked at.
    IgnoresGuard,
    /// `Add` reads, then writes.
    AddReadsThenWrites,
    /// `Add` asks for a value to be there.
    AddNeedsValue,
    /// A sum out of range stops at its end.
    AddSaturates,
    /// A commit on an absent record creates it.
    Upserts,
    /// A commit reads, then writes, then creates if the record has gone meanwhile.
    Revives,
    /// `delete` always says `true`.
    DeleteSaysTrue,
    /// Extending a life counts as a change.
    TouchIsAChange,
    /// Every commit extends the life.
    AlwaysTouches,
    /// A life is never shortened.
    NeverShortens,
    /// Expiry is not looked at for a long time.
    ForgetsExpiry,

    /// A move copies the record.
    MoveKeepsOld,
    /// A move reads, creates under the new key, then deletes under the old.
    MovesInSteps,
    /// A move comes first and its changes after.
    MovesFirst,
    /// A move goes to any key.
    MovesAnywhere,
    /// A move deletes what is under the new key.
    MoveOverwrites,
    /// A move of an absent record creates it.
    MovesTheDead,

    /// A purge takes living records.
    PurgesLiving,
    /// A purge goes by the deadline that a record was created with.
    PurgesByFirstDeadline,
    /// A purge makes other calls fail.
    PurgeLocksOthersOut,
    /// A purge looks at every record.
    PurgeReadsAll,

    /// Principals are compared without regard to case.
    PrincipalsFoldCase,
    /// The oldest session is listed first.
    ListsOldestFirst,
    /// A session that was listed once is listed for good.
    ListsForGood,
    /// Anonymous sessions are those of `null`.
    ListsAnonymous,
    /// A list ends after a hundred sessions.
    ListsAHundred,
    /// `delete_all` spares nobody.
    IgnoresExcept,
    /// `delete_all` reads the list, then deletes what it read.
    DeletesWhatItListed,

    /// A scan loses the last record of each page.
    ScanSkips,
    /// A scan gives records without their version.
    ScanHalves,
    /// A scan counts how many records it has passed.
    ScanCounts,

    /// All namespaces are one.
    OneNamespace,
    /// Each client of a namespace has it for itself.
    NamespacePerClient,
    /// Opening fails while another client opens.
    OpensOneAtATime,

    /// A record that cannot be read is taken for absent.
    CorruptIsAbsent,
    /// A commit writes over a record that cannot be read.
    CorruptIsOverwritten,

    /// A new record gets its values in a second step.
    CreatesInSteps,
    /// A dropped call leaves the client locked.
    DropLocksClient,
    /// A store without its backend answers that nothing is there.
    OutageIsAbsent,
    /// A client that failed once never works again.
    NeverRecovers,
    /// Calls wait for the backend as long as it takes.
    WaitsForGood,
    /// Calls wait for each other, and then for the backend.
    QueuesBehindDeadlines,
    /// `Debug` shows the password.
    ShowsPassword,
    /// Keys are hashed once more, so that nothing is found where one looks for it.
    DumpsNothing,
}
