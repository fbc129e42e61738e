//! The faults that a store can have.

/// One fault of a store. Real stores have had these faults or could have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    Faultless,

    /// Only the client that created a record sees it.
    CreatesInPrivate,
    /// `create` deletes the present record first.
    CreateOverwrites,
    /// `create` with the secret of the present record replaces it.
    CreateReplacesItsOwn,
    /// A key that was ever used counts as taken.
    LeftoversBlock,
    /// A record without values counts as absent.
    EmptyIsAbsent,
    /// A missing record is an error.
    MissingIsAnError,
    /// Keys are compared without regard to case.
    KeysFoldCase,
    /// Keys are compared without trailing spaces, as collations with `PAD SPACE` do.
    KeysArePadded,
    /// Hashes are compared up to the first zero byte.
    HashesEndAtZero,
    /// Hashes are compared without regard to case.
    HashesFoldCase,
    /// Principals are stored without spaces around them.
    TrimsPrincipals,
    /// Attributes are not stored.
    ForgetsAttributes,
    /// `load` gives the ttl that the record was created with.
    TellsFirstTtl,
    /// `commit` answers without the ttl.
    CommitTellsNoTtl,
    /// `commit` answers without the age of the authentication.
    CommitTellsNoAuthentication,
    /// JSON is parsed and written again.
    RewritesJson,
    /// Dots in names are replaced, as some document databases require.
    DotsCollide,
    /// There is no cap on data.
    NoCap,
    /// Lives out of range are clamped.
    ClampsTtl,
    /// Contradictory new records are repaired.
    RepairsNewRecords,
    /// The backend is asked before the call is checked.
    ChecksAfterAsking,

    /// A commit replaces all values.
    ReplacesAll,
    /// Each change is a separate write.
    WritesChangeByChange,
    /// Removals are ignored.
    IgnoresRemove,
    /// A commit that removes the record's first value ignores the changes after it.
    EndsAtTheFirstRemoved,
    /// The last value is not removed.
    KeepsOneValue,
    /// `clear` also removes the values that the same commit sets.
    ClearsLast,
    /// A commit writes back the whole record as this client read it.
    WritesStaleCopy,
    /// A present value is not overwritten.
    FirstWins,
    /// The guard is ignored.
    IgnoresGuard,
    /// `Add` reads, then writes.
    AddReadsThenWrites,
    /// `Add` requires a present value.
    AddNeedsValue,
    /// A sum out of range is clamped.
    AddSaturates,
    /// A commit on an absent record creates it.
    Upserts,
    /// A commit reads, then writes, then creates the record if it has gone meanwhile.
    Revives,
    /// `delete` always says `Ended`.
    DeleteSaysEnded,
    /// Extending a life counts as a change.
    TouchIsAChange,
    /// Every commit extends the life.
    AlwaysTouches,
    /// A life is never shortened.
    NeverShortens,
    /// Expiry is ignored for a long time.
    ForgetsExpiry,

    /// Every secret may commit.
    AcceptsSuperseded,
    /// The former secret may commit during its grace.
    GraceWrites,
    /// A superseded commit extends the life.
    SupersededTouches,
    /// The guard is compared before the secret.
    ConflictBeforeSuperseded,
    /// Impossible changes are refused before the secret is compared.
    RejectsBeforeJudging,
    /// A dead session is `Superseded` for a commit with a generation of its own.
    SupersededBeforeGone,
    /// The secret is compared before the record is read, so that a corrupt record is `Superseded`.
    SupersededBeforeCorrupt,
    /// An empty commit is `Done` without a look at the record.
    EmptyIsDone,
    /// A sign-in without a rotation is accepted.
    SignsInWithoutRotation,

    /// A rotation counts as a change.
    RotationIsAChange,
    /// A rotation restarts the life.
    RotationMovesDeadline,
    /// A rotation restarts the age.
    RotationResetsAge,
    /// A rotation restarts the age of the authentication.
    RotationRestartsAuthentication,
    /// `rotated` is always the age of the session.
    RotationIsNotStamped,
    /// A rotation is one write, and the rest of its commit a second one.
    RotatesFirst,
    /// A rotation compares the secret in one step and replaces it in the next.
    ComparesThenRotates,
    /// A rotation writes back the values that it read before.
    RotatesStaleCopy,
    /// A rotation deletes the record and creates it anew.
    RotatesByReplacing,
    /// A rotation of an absent session creates it.
    RotatesTheDead,
    /// A rotation that is repeated takes effect again.
    RotatesAgain,
    /// A rotation moves the session to the end of the list.
    RotationListsAnew,
    /// `since` is the generation of the last rotation.
    SinceFollowsRotations,
    /// The highest bit of a generation is lost.
    GenerationIsSigned,
    /// A version has 32 bits.
    VersionIsShort,
    /// No former secret is kept.
    ForgetsGrace,
    /// A grace lasts as long as the longest one allowed.
    GraceIsLongest,
    /// A rotation without a grace keeps the former secret of the rotation before it.
    GraceSurvivesRotation,
    /// Graces out of range are clamped.
    ClampsGrace,

    /// Every claim ends every session.
    IgnoresClaim,
    /// A claim is compared with the generation of the present secret.
    ClaimMeansGeneration,
    /// A claim is compared in one step and carried out in the next.
    ClaimReadsThenDeletes,
    /// A sign-out keeps `since` for claims.
    ClaimRemembersSignIn,
    /// A record that cannot be read does not end.
    CorruptCannotEnd,
    /// The age of the authentication is that of the session.
    AuthenticationIsAge,
    /// An authentication stamps anonymous sessions as well.
    VisitorsAuthenticate,

    /// A purge takes living records.
    PurgesLiving,
    /// A purge follows the deadline that a record was created with.
    PurgesByFirstDeadline,
    /// A purge makes other calls fail.
    PurgeLocksOthersOut,
    /// A purge reads every record.
    PurgeReadsAll,

    /// Principals are compared without regard to case.
    PrincipalsFoldCase,
    /// Sessions are listed without attributes and authentication.
    ListsKeysOnly,
    /// A session that was listed once is listed forever.
    ListsForever,
    /// Anonymous sessions belong to `null`.
    ListsAnonymous,
    /// A list ends after a hundred sessions.
    ListsAHundred,
    /// A page of a list is larger than its limit.
    ListIgnoresLimit,
    /// A list counts how many sessions it has passed.
    ListCounts,
    /// `delete_all` ends the exception as well.
    IgnoresExcept,
    /// `delete_all` spares sessions that changed after it had read them.
    DeleteAllSparesTheChanged,
    /// `delete_all` and `delete_everyone` count expired sessions.
    CountsTheExpired,
    /// A cursor that cannot be read starts the walk anew.
    ForeignCursorStarts,

    /// `delete_everyone` ends sessions with a principal only.
    EveryoneIsUsersOnly,
    /// `delete_everyone` ends the sessions of all namespaces.
    EveryoneEverywhere,
    /// `delete_everyone` spares sessions that changed after it had read them.
    EveryoneSparesTheChanged,
    /// `delete_everyone` spares records that it cannot read.
    EveryoneSparesTheCorrupt,
    /// `delete_everyone` with a limit of 0 ends nothing.
    EveryoneOfNoneEnds,
    /// `delete_everyone` ends all sessions in one page.
    EveryoneAtOnce,
    /// A dropped `delete_everyone` leaves a lock behind, and later ones end nothing.
    EveryoneLeavesALock,

    /// A scan loses the last record of each page.
    ScanSkips,
    /// A scan gives records without their version.
    ScanHalves,
    /// A scan counts how many records it has passed.
    ScanCounts,

    /// A new record is as old as its `create`.
    CopyResetsAges,
    /// A new record has version 1.
    CopyResetsVersion,
    /// A new record lives for a minute at least.
    CopyProlongs,
    /// Anonymous sessions may fill the store.
    ReservesNoRoom,

    /// All namespaces are one.
    OneNamespace,
    /// Each client of a namespace has it to itself.
    NamespacePerClient,
    /// Opening fails while another client opens.
    OpensOneAtATime,

    /// A record that cannot be read counts as absent.
    CorruptIsAbsent,
    /// A commit overwrites a record that cannot be read.
    CorruptIsOverwritten,

    /// A new record gets its values in a second step.
    CreatesInSteps,
    /// A dropped call leaves the client locked.
    DropLocksClient,
    /// A store without its backend answers that nothing is there.
    OutageIsAbsent,
    /// A client that failed once never works again.
    NeverRecovers,
    /// Calls wait for the backend without a deadline.
    WaitsForever,
    /// Calls wait for each other, and then for the backend.
    QueuesBehindDeadlines,
    /// `Debug` shows the password.
    ShowsPassword,
    /// Errors show the hash of the secret.
    ShowsHash,
    /// The dump is empty, so that a search in it finds nothing.
    DumpsNothing,
}
