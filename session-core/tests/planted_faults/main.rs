//! Each conformance check runs on a store with a fault that it has to find, and on the same store
//! without a fault. This proves that each check can fail.
#![cfg(feature = "conformance")]

mod backend;
mod client;
mod commit;
mod fault;
mod fixture;
mod store;

use std::{any::Any, collections::BTreeSet, future::Future, thread};

use session_core::conformance::CHECKS;

/// The store without a fault passes all checks, including those of outages and corrupt records.
mod without_fault {
    use crate::{fault::Fault, fixture::BackendFixture};

    session_core::conformance_tests!(async { BackendFixture::new(Fault::None) });
}

/// Runs a check that has to fail, and returns the text of its panic. The check has its own runtime,
/// because its tasks still run when it panics.
fn failure_of<F: Future<Output = ()>>(
    check: impl FnOnce() -> F + Send + 'static,
) -> Option<String> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("{error}"));
        runtime.block_on(check());
        runtime.shutdown_background();
    };
    let text = |panic: Box<dyn Any + Send>| {
        panic.downcast::<String>().map_or_else(|_| "a panic without text".to_owned(), |text| *text)
    };
    thread::spawn(run).join().err().map(text)
}

/// Makes a test of each line `check finds Fault, ...;`, and the test that every check has a line.
macro_rules! planted_faults {
    ($($check:ident finds $($fault:ident),+;)*) => {
        mod finds {
            use session_core::conformance;

            use crate::{failure_of, fault::Fault, fixture::BackendFixture};

            $(
                #[test]
                fn $check() {
                    $(
                        let (check, fault) = (stringify!($check), stringify!($fault));
                        let failure = failure_of(|| async {
                            conformance::$check(&BackendFixture::new(Fault::$fault)).await;
                        });
                        let text = failure.unwrap_or_else(|| panic!("{check} misses {fault}"));
                        assert!(
                            text.contains("expected:") && text.contains("actual:"),
                            "{check} panics on {fault} outside its assertions: {text}"
                        );
                        println!("{check} finds {fault}:\n{text}");
                    )+
                }
            )*
        }

        #[test]
        fn every_check_finds_a_planted_fault() {
            let finding: BTreeSet<&str> = [$(stringify!($check)),*].into();
            let missing: Vec<&&str> =
                CHECKS.iter().filter(|check| !finding.contains(**check)).collect();
            assert!(missing.is_empty(), "checks without a fault that they find: {missing:#?}");
        }
    };
}

planted_faults! {
    c01_created_records_are_visible_to_every_client finds CreateVisibleOnlyToItsClient;
    c02_create_on_a_live_key_changes_nothing finds CreateOverwritesLiveRecord;
    c02_create_replaces_an_expired_record finds CreateRefusesExpiredKey, ExpiryIsAnHourLate;
    c02_one_of_concurrent_creates_wins finds CreateOverwritesLiveRecord;
    c03_load_returns_the_stored_record finds AttributesAreNotStored;
    c03_age_and_ttl_follow_the_backend_clock finds LoadReturnsFirstTtl, ExpiryIsAnHourLate;
    c03_commit_returns_the_same_fields_as_load finds
        CommitReturnsNoTtl, CommitReturnsNoAuthentication;
    c03_unusual_principals_are_stored_exactly finds PrincipalsAreTrimmed;
    c04_a_record_without_values_exists finds LoadIgnoresRecordWithoutValues;
    c05_missing_and_malformed_keys_are_absent finds
        LoadFailsForMissingKey, CommitCreatesMissingRecord, RotationCreatesMissingRecord;
    c05_unusual_keys_are_distinct finds KeysIgnoreCase, KeysIgnoreTrailingSpaces;
    c05_secret_hashes_are_compared_byte_for_byte finds HashesEndAtZeroByte, HashesIgnoreCase;
    c06_json_values_are_stored_exactly finds JsonIsReencoded;
    c07_unusual_names_are_stored_and_distinct finds DotsInNamesAreReplaced;
    c08_data_over_the_limit_is_rejected finds NoDataLimit;
    c08_ttls_out_of_range_are_rejected finds TtlIsClamped;
    c08_invalid_calls_are_rejected_before_io finds ValidatesAfterRequest;
    c08_inconsistent_new_records_are_rejected finds NewRecordsAreRepaired;
    c09_commit_changes_only_the_named_values finds CommitReplacesAllValues, CommitIgnoresRemove;
    c09_every_combination_of_changes_works finds
        CommitStopsAtRemovedFirstValue, CommitCannotRemoveAllValues, CommitIgnoresRemove,
        CommitReplacesAllValues;
    c09_readers_never_see_part_of_a_commit finds
        CommitWritesEachChangeSeparately, RotationIsSeparateFromChanges;
    c10_the_last_change_to_a_name_wins finds CommitIgnoresRemove, CommitNeverOverwrites;
    c11_clear_keeps_only_values_set_by_the_commit finds ClearRemovesNewValues;
    c12_stale_commits_to_different_names_both_survive finds
        CommitWritesStaleRecord, CommitReplacesAllValues;
    c12_concurrent_commits_to_different_names_survive finds CommitWritesStaleRecord;
    c13_the_later_commit_wins_under_guard_any finds CommitNeverOverwrites;
    c13_a_stale_version_is_a_conflict finds CommitIgnoresGuard;
    c14_concurrent_adds_lose_no_update finds AddIsNotAtomic;
    c15_add_starts_from_zero finds AddRequiresValue;
    c15_an_invalid_add_is_rejected finds
        AddSaturates, CommitWritesEachChangeSeparately, RotationIsSeparateFromChanges;
    c16_guarded_increments_lose_no_update finds CommitIgnoresGuard;
    c16_one_of_concurrent_guarded_commits_wins finds CommitIgnoresGuard;
    c17_commit_never_creates_a_record finds
        CommitCreatesMissingRecord, RotationCreatesMissingRecord;
    c18_delete_among_commits_leaves_no_record finds CommitRecreatesDeletedRecord;
    c18_delete_beats_a_concurrent_rotation finds RotationDeletesAndCreates;
    c19_delete_reports_whether_a_record_existed finds DeleteAlwaysReturnsEnded;
    c20_the_version_counts_only_changes finds
        TtlIncrementsVersion, RotationIncrementsVersion, CommitWritesEachChangeSeparately;
    c21_an_empty_commit_writes_nothing finds CommitAlwaysExtendsTtl;
    c22_only_the_new_secret_opens_a_rotated_session finds
        CommitAcceptsAnySecret, RotationIncrementsVersion, RotationExtendsTtl,
        RotationResetsAge, RotationResetsAuthenticationAge, RotationTimeIsNotStored,
        SinceFollowsRotations;
    c22_a_rotation_and_its_changes_are_atomic finds RotationIsSeparateFromChanges;
    c22_generation_and_since_follow_the_commits finds SinceFollowsRotations, GenerationLosesHighBit;
    c22_a_former_secret_only_reads_during_its_grace finds
        GraceIsNotStored, GraceIsAlwaysLongest, CommitAcceptsFormerSecret;
    c22_the_next_rotation_drops_the_older_secret finds GraceSurvivesNextRotation;
    c22_a_grace_out_of_range_is_rejected finds GraceIsClamped;
    c23_a_rotation_among_adds_is_serialized finds RotationWritesStaleValues;
    c23_one_of_concurrent_rotations_wins finds RotationIsNotAtomic, CommitAcceptsAnySecret;
    c24_a_rotation_changes_no_key_or_index_entry finds
        RotationMovesSessionInList, RotationExtendsTtl, RotationResetsAuthenticationAge;
    c25_a_dead_session_cannot_rotate finds RotationCreatesMissingRecord;
    c26_a_record_expires_after_its_ttl finds ExpiryIsAnHourLate;
    c27_an_expired_record_is_dead_for_every_method finds
        ExpiryIsAnHourLate, CommitCreatesMissingRecord, RotationCreatesMissingRecord,
        CreateRefusesExpiredKey, BulkDeletesCountExpired;
    c27_bulk_deletes_do_not_count_expired_records finds BulkDeletesCountExpired;
    c28_only_a_ttl_moves_the_deadline finds CommitAlwaysExtendsTtl, RotationExtendsTtl;
    c28_a_commit_can_shorten_the_ttl finds TtlIsNeverShortened;
    c29_each_record_has_its_own_ttl finds ExpiryIsAnHourLate, TtlIsNeverShortened;
    c30_delete_expired_removes_only_expired_records finds PurgeRemovesLiveRecords;
    c30_delete_expired_uses_the_current_deadline finds PurgeUsesFirstDeadline;
    c30_delete_expired_disturbs_no_concurrent_call finds
        ConcurrentPurgesFail, PurgeRemovesLiveRecords;
    c31_purge_cost_follows_the_expired_records finds PurgeReadsAllRecords;
    c32_similar_principals_are_distinct finds PrincipalsIgnoreCase;
    c32_list_shows_the_live_sessions_of_the_principal finds
        ListOmitsFields, AuthenticationAgeIsSessionAge;
    c33_the_index_follows_the_record finds ListKeepsDeadSessions;
    c34_an_anonymous_record_is_in_no_index finds ListOfNullIsAnonymous;
    c35_delete_all_ends_all_sessions_but_the_exception finds DeleteAllIgnoresException;
    c35_a_racing_sign_in_is_ended_or_fully_live finds DeleteAllSkipsChangedSessions;
    c36_one_principal_can_have_a_thousand_sessions finds ListEndsAfterFirstPage;
    c37_scan_visits_every_live_record finds ScanLosesLastRecordOfPage;
    c37_scan_returns_whole_records finds ScanOmitsVersion;
    c37_scan_is_complete_during_writes finds ScanUsesOffsets;
    c38_namespaces_are_isolated finds NamespacesAreShared, DeleteEveryoneIgnoresNamespace;
    c38_delete_expired_stays_in_its_namespace finds NamespacesAreShared;
    c38_clients_of_one_namespace_share_records finds NamespacesArePerClient;
    c39_a_corrupt_record_is_reported_and_kept finds
        LoadIgnoresCorruptRecord, CommitOverwritesCorruptRecord, SupersededBeforeCorrupt;
    c40_a_newer_format_is_reported_and_kept finds
        CommitOverwritesCorruptRecord, SupersededBeforeCorrupt;
    c41_dropped_calls_leave_the_record_whole finds
        CommitWritesEachChangeSeparately, DroppedCallLocksClient;
    c41_dropped_rotations_leave_one_valid_secret finds
        RotationIsSeparateFromChanges, RotationDeletesAndCreates;
    c41_dropped_creates_and_deletes_are_atomic finds CreateIsNotAtomic;
    c41_dropped_reads_leave_the_client_usable finds DroppedCallLocksClient;
    c41_a_dropped_delete_everyone_can_be_repeated finds DroppedDeleteEveryoneKeepsLock;
    c42_calls_fail_in_time_while_the_backend_is_stopped finds
        LoadIgnoresOutage, ClientNeverRecovers;
    c43_calls_fail_in_time_while_the_backend_hangs finds NoDeadline;
    c43_queued_calls_share_one_deadline finds QueuedCallsWaitInTurn;
    c44_concurrent_setup_of_an_empty_storage_succeeds finds ConcurrentSetupFails;
    c45_printed_text_shows_no_secret finds DebugShowsPassword, ErrorsShowHash;
    c46_a_superseded_commit_changes_nothing finds
        CommitAcceptsAnySecret, SupersededCommitExtendsTtl, ConflictBeforeSuperseded;
    c46_outcomes_have_an_order finds
        ConflictBeforeSuperseded, RejectedBeforeSuperseded, SupersededBeforeGone;
    c46_an_empty_commit_is_checked finds EmptyCommitIsAlwaysDone;
    c46_a_sign_in_without_a_rotation_is_rejected finds SignInWithoutRotationIsAccepted;
    c47_any_claim_ends_a_corrupt_record finds DeleteFailsForCorruptRecord;
    c47_a_claim_older_than_the_sign_in_ends_nothing finds
        DeleteIgnoresClaim, ClaimIsComparedWithGeneration;
    c47_any_claim_ends_an_anonymous_session finds ClaimIsComparedWithGeneration, SignOutKeepsSince;
    c47_a_claim_racing_a_sign_in_is_atomic finds ClaimIsNotAtomic;
    c48_a_sign_in_restarts_the_authentication_age finds AuthenticationAgeIsSessionAge;
    c48_other_commits_keep_the_authentication_age finds
        RotationResetsAuthenticationAge, AnonymousSessionsAuthenticate;
    c48_a_commit_without_a_load_returns_both_ages finds
        CommitReturnsNoAuthentication, AuthenticationAgeIsSessionAge;
    c49_a_repeated_rotation_takes_effect_once finds RepeatedRotationTakesEffectAgain;
    c49_a_dropped_rotation_can_be_repeated finds
        RotationIsSeparateFromChanges, RepeatedRotationTakesEffectAgain;
    c50_anonymous_sessions_leave_room_for_users finds NoSpaceReservedForUsers;
    c51_a_repeated_create_changes_nothing finds
        CreateReplacesRecordWithSameSecret, CreateOverwritesLiveRecord;
    c51_a_dropped_create_can_be_repeated finds
        CreateIsNotAtomic, CreateReplacesRecordWithSameSecret;
    c52_list_pages_are_bounded_and_ordered finds ListExceedsLimit, RotationMovesSessionInList;
    c52_list_is_complete_during_writes finds ListUsesOffsets, RotationMovesSessionInList;
    c52_delete_all_is_complete_during_writes finds DeleteAllSkipsChangedSessions;
    c52_a_foreign_cursor_is_an_error finds ForeignCursorRestarts;
    c53_delete_everyone_stays_in_its_namespace finds DeleteEveryoneIgnoresNamespace;
    c53_delete_everyone_ends_all_sessions_in_pages finds
        DeleteEveryoneSkipsAnonymous, DeleteEveryoneIgnoresLimit;
    c53_delete_everyone_accepts_every_limit finds DeleteEveryoneIgnoresLimitZero;
    c53_delete_everyone_is_complete_during_writes finds DeleteEveryoneSkipsChangedSessions;
    c53_delete_everyone_ends_corrupt_records finds DeleteEveryoneSkipsCorruptRecords;
    c54_a_copy_keeps_ages_deadline_and_versions finds CreateResetsAges, CreateResetsVersion;
    c54_a_copy_expires_with_the_original finds CreateExtendsTtlOfCopy;
    c54_extreme_numbers_are_stored_exactly finds GenerationLosesHighBit, VersionHas32Bits;
    s12_stored_bytes_hold_no_secret finds DumpIsEmpty;
}
