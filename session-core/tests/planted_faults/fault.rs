//! The faults that the store of these tests can have.

/// One fault of a store. Real stores have had these faults or could have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    None,

    /// Only the client that created a record sees it.
    CreateVisibleOnlyToItsClient,
    /// `create` deletes the existing record first.
    CreateOverwritesLiveRecord,
    /// `create` replaces an existing record that has the same secret.
    CreateReplacesRecordWithSameSecret,
    /// `create` returns `Taken` for every key that was in use before.
    CreateRefusesExpiredKey,
    /// `load` returns `None` for a record without values.
    LoadIgnoresRecordWithoutValues,
    /// `load` returns an error for a missing record.
    LoadFailsForMissingKey,
    /// Keys are compared without regard to case.
    KeysIgnoreCase,
    /// Keys are compared without trailing spaces, as collations with `PAD SPACE` do.
    KeysIgnoreTrailingSpaces,
    /// Hashes are compared up to the first zero byte.
    HashesEndAtZeroByte,
    /// Hashes are compared without regard to case.
    HashesIgnoreCase,
    /// Principals are stored without the spaces around them.
    PrincipalsAreTrimmed,
    /// Attributes are not stored.
    AttributesAreNotStored,
    /// `load` returns the ttl with which the record was created.
    LoadReturnsFirstTtl,
    /// `commit` returns the ttl 0.
    CommitReturnsNoTtl,
    /// `commit` returns no authentication age.
    CommitReturnsNoAuthentication,
    /// JSON values are parsed and written again.
    JsonIsReencoded,
    /// Dots in names are replaced by underscores, as some document databases require.
    DotsInNamesAreReplaced,
    /// The amount of data is not limited.
    NoDataLimit,
    /// A ttl out of range is clamped.
    TtlIsClamped,
    /// Contradictory new records are repaired.
    NewRecordsAreRepaired,
    /// The store sends the request before it validates the call.
    ValidatesAfterRequest,

    /// A commit replaces all values.
    CommitReplacesAllValues,
    /// Each change of a commit is a separate write.
    CommitWritesEachChangeSeparately,
    /// A commit ignores removals.
    CommitIgnoresRemove,
    /// A commit that removes the first value of the record ignores the changes after it.
    CommitStopsAtRemovedFirstValue,
    /// A commit that removes all values of the record removes none.
    CommitCannotRemoveAllValues,
    /// `clear` also removes the values that the same commit sets.
    ClearRemovesNewValues,
    /// A commit writes back the whole record as this client read it.
    CommitWritesStaleRecord,
    /// A commit does not overwrite an existing value.
    CommitNeverOverwrites,
    /// A commit ignores the guard.
    CommitIgnoresGuard,
    /// `Add` reads in one step and writes in the next.
    AddIsNotAtomic,
    /// `Add` rejects an absent value.
    AddRequiresValue,
    /// `Add` clamps a sum out of range.
    AddSaturates,
    /// A commit to a missing record creates it.
    CommitCreatesMissingRecord,
    /// A commit creates the record again if it was deleted since the commit read it.
    CommitRecreatesDeletedRecord,
    /// `delete` always returns `Ended`.
    DeleteAlwaysReturnsEnded,
    /// A commit of a ttl increments the version.
    TtlIncrementsVersion,
    /// Every commit extends the ttl.
    CommitAlwaysExtendsTtl,
    /// A commit cannot shorten the ttl.
    TtlIsNeverShortened,
    /// Records expire an hour late.
    ExpiryIsAnHourLate,

    /// A commit with any secret takes effect.
    CommitAcceptsAnySecret,
    /// A commit with the former secret takes effect during its grace.
    CommitAcceptsFormerSecret,
    /// A superseded commit extends the ttl.
    SupersededCommitExtendsTtl,
    /// The guard is compared before the secret.
    ConflictBeforeSuperseded,
    /// Invalid changes are rejected before the secret is compared.
    RejectedBeforeSuperseded,
    /// A guarded commit to a dead session returns `Superseded`.
    SupersededBeforeGone,
    /// The secret is compared before the record is read, so a corrupt record is `Superseded`.
    SupersededBeforeCorrupt,
    /// An empty commit returns `Done` without a look at the record.
    EmptyCommitIsAlwaysDone,
    /// A sign-in without a rotation takes effect.
    SignInWithoutRotationIsAccepted,

    /// A rotation increments the version.
    RotationIncrementsVersion,
    /// A rotation extends the ttl.
    RotationExtendsTtl,
    /// A rotation resets the age of the session.
    RotationResetsAge,
    /// A rotation resets the authentication age.
    RotationResetsAuthenticationAge,
    /// `rotated` is always the age of the session.
    RotationTimeIsNotStored,
    /// A rotation is one write, and the other changes of its commit are a second write.
    RotationIsSeparateFromChanges,
    /// A rotation compares the secret in one step and replaces it in the next.
    RotationIsNotAtomic,
    /// A rotation writes back the values that it read before.
    RotationWritesStaleValues,
    /// A rotation deletes the record and creates it again.
    RotationDeletesAndCreates,
    /// A rotation of a missing session creates it.
    RotationCreatesMissingRecord,
    /// A repeated rotation takes effect again.
    RepeatedRotationTakesEffectAgain,
    /// A rotation moves the session to the end of the list.
    RotationMovesSessionInList,
    /// `since` is the generation of the last rotation.
    SinceFollowsRotations,
    /// The store loses the highest bit of a generation.
    GenerationLosesHighBit,
    /// The store keeps 32 bits of a version.
    VersionHas32Bits,
    /// The former secret is not stored.
    GraceIsNotStored,
    /// Every grace lasts as long as the longest allowed one.
    GraceIsAlwaysLongest,
    /// A rotation without a grace keeps the former secret of the rotation before it.
    GraceSurvivesNextRotation,
    /// A grace out of range is clamped.
    GraceIsClamped,

    /// Every claim ends every session.
    DeleteIgnoresClaim,
    /// A claim is compared with the generation of the current secret.
    ClaimIsComparedWithGeneration,
    /// `delete` compares the claim in one step and ends the session in the next.
    ClaimIsNotAtomic,
    /// A sign-out keeps `since`, so an old claim does not end the session.
    SignOutKeepsSince,
    /// `delete` cannot end a corrupt record.
    DeleteFailsForCorruptRecord,
    /// The authentication age is the age of the session.
    AuthenticationAgeIsSessionAge,
    /// An authentication also sets the authentication age of an anonymous session.
    AnonymousSessionsAuthenticate,

    /// A purge removes live records.
    PurgeRemovesLiveRecords,
    /// A purge uses the deadline with which the record was created.
    PurgeUsesFirstDeadline,
    /// A purge fails while another one runs.
    ConcurrentPurgesFail,
    /// A purge reads every record.
    PurgeReadsAllRecords,

    /// Principals are compared without regard to case.
    PrincipalsIgnoreCase,
    /// `list` returns no attributes and the authentication age 0.
    ListOmitsFields,
    /// `list` returns every session that it returned before.
    ListKeepsDeadSessions,
    /// `list` of the principal `null` returns the anonymous sessions.
    ListOfNullIsAnonymous,
    /// `list` ends after one page.
    ListEndsAfterFirstPage,
    /// A page of `list` is larger than its limit.
    ListExceedsLimit,
    /// The cursor of `list` is the number of sessions in the pages before.
    ListUsesOffsets,
    /// `delete_all` ends the exception as well.
    DeleteAllIgnoresException,
    /// `delete_all` skips sessions that change after it has read them.
    DeleteAllSkipsChangedSessions,
    /// `delete_all` and `delete_everyone` count expired sessions.
    BulkDeletesCountExpired,
    /// A paged call with a foreign cursor starts at the first page.
    ForeignCursorRestarts,

    /// `delete_everyone` ends only sessions with a principal.
    DeleteEveryoneSkipsAnonymous,
    /// `delete_everyone` ends the sessions of all namespaces.
    DeleteEveryoneIgnoresNamespace,
    /// `delete_everyone` skips sessions that change after it has read them.
    DeleteEveryoneSkipsChangedSessions,
    /// `delete_everyone` skips corrupt records.
    DeleteEveryoneSkipsCorruptRecords,
    /// `delete_everyone` with the limit 0 ends no session.
    DeleteEveryoneIgnoresLimitZero,
    /// `delete_everyone` ends all sessions in one page.
    DeleteEveryoneIgnoresLimit,
    /// A dropped `delete_everyone` keeps a lock, and later ones end no session.
    DroppedDeleteEveryoneKeepsLock,

    /// `scan` loses the last record of each page.
    ScanLosesLastRecordOfPage,
    /// `scan` returns records with the version 0.
    ScanOmitsVersion,
    /// The cursor of `scan` is the number of records in the pages before.
    ScanUsesOffsets,

    /// `create` sets all ages to 0.
    CreateResetsAges,
    /// `create` sets the version to 1.
    CreateResetsVersion,
    /// `create` of a copied record gives it a ttl of at least a minute.
    CreateExtendsTtlOfCopy,
    /// Anonymous sessions may fill the whole store.
    NoSpaceReservedForUsers,

    /// All namespaces share one storage.
    NamespacesAreShared,
    /// Each client has its own storage for a namespace.
    NamespacesArePerClient,
    /// Opening fails while another client opens.
    ConcurrentSetupFails,

    /// `load` returns `None` for a corrupt record.
    LoadIgnoresCorruptRecord,
    /// A commit overwrites a corrupt record.
    CommitOverwritesCorruptRecord,

    /// `create` writes the values in a second step.
    CreateIsNotAtomic,
    /// A dropped call leaves the client locked.
    DroppedCallLocksClient,
    /// `load` returns `None` while the backend is stopped.
    LoadIgnoresOutage,
    /// A client that failed once fails forever.
    ClientNeverRecovers,
    /// Calls wait for the backend without a deadline.
    NoDeadline,
    /// A call starts to wait for the backend when the call before it has ended.
    QueuedCallsWaitInTurn,
    /// `Debug` shows the password.
    DebugShowsPassword,
    /// Errors show the hash of the secret.
    ErrorsShowHash,
    /// The dump is empty, so a search in it finds nothing.
    DumpIsEmpty,
}
