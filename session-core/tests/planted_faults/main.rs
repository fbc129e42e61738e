//! Every conformance check can fail: each runs on a store with a fault that it has to find, and on
//! the same store without faults.
#![cfg(feature = "conformance")]

mod client;
mod commit;
mod fault;
mod remote;

use std::{any::Any, collections::BTreeSet, future::Future, thread};

use session_core::conformance::CHECKS;

/// The store without faults passes them all, including the checks of outages and corrupt records.
mod faultless {
    use crate::{fault::Fault, remote::RemoteFixture};

    session_core::conformance_tests!(async { RemoteFixture::new(Fault::Faultless) });
}

/// Runs a check on its own runtime, because it is expected to panic while its tasks run.
fn complaint_of<F: Future<Output = ()>>(
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

/// `check finds Fault` lines: a test for each, and the set of checks that find a fault.
macro_rules! planted {
    ($($check:ident finds $($fault:ident),+;)*) => {
        mod caught {
            $(
                #[test]
                fn $check() {
                    $(
                        let complaint = crate::complaint_of(|| async {
                            let fixture = crate::remote::RemoteFixture::new(crate::fault::Fault::$fault);
                            session_core::conformance::$check(&fixture).await;
                        });
                        let text = complaint.unwrap_or_else(|| panic!("{} lets {} pass", stringify!($check), stringify!($fault)));
                        assert!(text.contains("expected:") && text.contains("actual:"), "{} panics instead of complaining about {}: {text}", stringify!($check), stringify!($fault));
                        println!("{} finds {}:\n{text}", stringify!($check), stringify!($fault));
                    )+
                }
            )*
        }

        #[test]
        fn every_check_finds_a_planted_fault() {
            let finding: BTreeSet<&str> = [$(stringify!($check)),*].into();
            let missing: Vec<&&str> = CHECKS.iter().filter(|check| !finding.contains(**check)).collect();
            assert!(missing.is_empty(), "no planted fault shows that these can fail: {missing:#?}");
        }
    };
}

planted! {
    c01_created_records_are_visible_to_every_client finds CreatesInPrivate;
    c02_create_on_a_live_key_changes_nothing finds CreateOverwrites;
    c02_create_replaces_an_expired_record finds LeftoversBlock, ForgetsExpiry;
    c02_one_of_concurrent_creates_wins finds CreateOverwrites;
    c03_load_returns_the_stored_record finds ForgetsAttributes;
    c03_age_and_ttl_follow_the_backend_clock finds TellsFirstTtl, ForgetsExpiry;
    c03_commit_returns_the_same_fields_as_load finds CommitTellsNoTtl, CommitTellsNoAuthentication;
    c03_unusual_principals_are_stored_exactly finds TrimsPrincipals;
    c04_a_record_without_values_exists finds EmptyIsAbsent;
    c05_missing_and_malformed_keys_are_absent finds MissingIsAnError, Upserts, RotatesTheDead;
    c05_unusual_keys_are_distinct finds KeysFoldCase, KeysArePadded;
    c05_secret_hashes_are_compared_byte_for_byte finds HashesEndAtZero, HashesFoldCase;
    c06_json_values_are_stored_exactly finds RewritesJson;
    c07_unusual_names_are_stored_and_distinct finds DotsCollide;
    c08_data_over_the_limit_is_rejected finds NoCap;
    c08_ttls_out_of_range_are_rejected finds ClampsTtl;
    c08_invalid_calls_are_rejected_before_io finds ChecksAfterAsking;
    c08_inconsistent_new_records_are_rejected finds RepairsNewRecords;
    c09_commit_changes_only_the_named_values finds ReplacesAll, IgnoresRemove;
    c09_every_combination_of_changes_works finds EndsAtTheFirstRemoved, KeepsOneValue, IgnoresRemove, ReplacesAll;
    c09_readers_never_see_part_of_a_commit finds WritesChangeByChange, RotatesFirst;
    c10_the_last_change_to_a_name_wins finds IgnoresRemove, FirstWins;
    c11_clear_keeps_only_values_set_by_the_commit finds ClearsLast;
    c12_stale_commits_to_different_names_both_survive finds WritesStaleCopy, ReplacesAll;
    c12_concurrent_commits_to_different_names_survive finds WritesStaleCopy;
    c13_the_later_commit_wins_under_guard_any finds FirstWins;
    c13_a_stale_version_is_a_conflict finds IgnoresGuard;
    c14_concurrent_adds_lose_no_update finds AddReadsThenWrites;
    c15_add_starts_from_zero finds AddNeedsValue;
    c15_an_invalid_add_is_rejected finds AddSaturates, WritesChangeByChange, RotatesFirst;
    c16_guarded_increments_lose_no_update finds IgnoresGuard;
    c16_one_of_concurrent_guarded_commits_wins finds IgnoresGuard;
    c17_commit_never_creates_a_record finds Upserts, RotatesTheDead;
    c18_delete_among_commits_leaves_no_record finds Revives;
    c18_delete_beats_a_concurrent_rotation finds RotatesByReplacing;
    c19_delete_reports_whether_a_record_existed finds DeleteSaysEnded;
    c20_the_version_counts_only_changes finds TouchIsAChange, RotationIsAChange, WritesChangeByChange;
    c21_an_empty_commit_writes_nothing finds AlwaysTouches;
    c22_only_the_new_secret_opens_a_rotated_session finds AcceptsSuperseded, RotationIsAChange, RotationMovesDeadline,
        RotationResetsAge, RotationRestartsAuthentication, RotationIsNotStamped, SinceFollowsRotations;
    c22_a_rotation_and_its_changes_are_atomic finds RotatesFirst;
    c22_generation_and_since_follow_the_commits finds SinceFollowsRotations, GenerationIsSigned;
    c22_a_former_secret_only_reads_during_its_grace finds ForgetsGrace, GraceIsLongest, GraceWrites;
    c22_the_next_rotation_drops_the_older_secret finds GraceSurvivesRotation;
    c22_a_grace_out_of_range_is_rejected finds ClampsGrace;
    c23_a_rotation_among_adds_is_serialized finds RotatesStaleCopy;
    c23_one_of_concurrent_rotations_wins finds ComparesThenRotates, AcceptsSuperseded;
    c24_a_rotation_changes_no_key_or_index_entry finds RotationListsAnew, RotationMovesDeadline, RotationRestartsAuthentication;
    c25_a_dead_session_cannot_rotate finds RotatesTheDead;
    c26_a_record_expires_after_its_ttl finds ForgetsExpiry;
    c27_an_expired_record_is_dead_for_every_method finds ForgetsExpiry, Upserts, RotatesTheDead, LeftoversBlock, CountsTheExpired;
    c27_bulk_deletes_do_not_count_expired_records finds CountsTheExpired;
    c28_only_a_ttl_moves_the_deadline finds AlwaysTouches, RotationMovesDeadline;
    c28_a_commit_can_shorten_the_ttl finds NeverShortens;
    c29_each_record_has_its_own_ttl finds ForgetsExpiry, NeverShortens;
    c30_delete_expired_removes_only_expired_records finds PurgesLiving;
    c30_delete_expired_uses_the_current_deadline finds PurgesByFirstDeadline;
    c30_delete_expired_disturbs_no_concurrent_call finds PurgeLocksOthersOut, PurgesLiving;
    c31_purge_cost_follows_the_expired_records finds PurgeReadsAll;
    c32_similar_principals_are_distinct finds PrincipalsFoldCase;
    c32_list_shows_the_live_sessions_of_the_principal finds ListsKeysOnly, AuthenticationIsAge;
    c33_the_index_follows_the_record finds ListsForever;
    c34_an_anonymous_record_is_in_no_index finds ListsAnonymous;
    c35_delete_all_ends_all_sessions_but_the_exception finds IgnoresExcept;
    c35_a_racing_sign_in_is_ended_or_fully_live finds DeleteAllSparesTheChanged;
    c36_one_principal_can_have_a_thousand_sessions finds ListsAHundred;
    c37_scan_visits_every_live_record finds ScanSkips;
    c37_scan_returns_whole_records finds ScanHalves;
    c37_scan_is_complete_during_writes finds ScanCounts;
    c38_namespaces_are_isolated finds OneNamespace, EveryoneEverywhere;
    c38_delete_expired_stays_in_its_namespace finds OneNamespace;
    c38_clients_of_one_namespace_share_records finds NamespacePerClient;
    c39_a_corrupt_record_is_reported_and_kept finds CorruptIsAbsent, CorruptIsOverwritten, SupersededBeforeCorrupt;
    c40_a_newer_format_is_reported_and_kept finds CorruptIsOverwritten, SupersededBeforeCorrupt;
    c41_dropped_calls_leave_the_record_whole finds WritesChangeByChange, DropLocksClient;
    c41_dropped_rotations_leave_one_valid_secret finds RotatesFirst, RotatesByReplacing;
    c41_dropped_creates_and_deletes_are_atomic finds CreatesInSteps;
    c41_dropped_reads_leave_the_client_usable finds DropLocksClient;
    c41_a_dropped_delete_everyone_can_be_repeated finds EveryoneLeavesALock;
    c42_calls_fail_in_time_while_the_backend_is_stopped finds OutageIsAbsent, NeverRecovers;
    c43_calls_fail_in_time_while_the_backend_hangs finds WaitsForever;
    c43_queued_calls_share_one_deadline finds QueuesBehindDeadlines;
    c44_concurrent_setup_of_an_empty_storage_succeeds finds OpensOneAtATime;
    c45_printed_text_shows_no_secret finds ShowsPassword, ShowsHash;
    c46_a_superseded_commit_changes_nothing finds AcceptsSuperseded, SupersededTouches, ConflictBeforeSuperseded;
    c46_outcomes_have_an_order finds ConflictBeforeSuperseded, RejectsBeforeJudging, SupersededBeforeGone;
    c46_an_empty_commit_is_checked finds EmptyIsDone;
    c46_a_sign_in_without_a_rotation_is_rejected finds SignsInWithoutRotation;
    c47_any_claim_ends_a_corrupt_record finds CorruptCannotEnd;
    c47_a_claim_older_than_the_sign_in_ends_nothing finds IgnoresClaim, ClaimMeansGeneration;
    c47_any_claim_ends_an_anonymous_session finds ClaimMeansGeneration, ClaimRemembersSignIn;
    c47_a_claim_racing_a_sign_in_is_atomic finds ClaimReadsThenDeletes;
    c48_a_sign_in_restarts_the_authentication_age finds AuthenticationIsAge;
    c48_other_commits_keep_the_authentication_age finds RotationRestartsAuthentication, VisitorsAuthenticate;
    c48_a_commit_without_a_load_returns_both_ages finds CommitTellsNoAuthentication, AuthenticationIsAge;
    c49_a_repeated_rotation_takes_effect_once finds RotatesAgain;
    c49_a_dropped_rotation_can_be_repeated finds RotatesFirst, RotatesAgain;
    c50_anonymous_sessions_leave_room_for_users finds ReservesNoRoom;
    c51_a_repeated_create_changes_nothing finds CreateReplacesItsOwn, CreateOverwrites;
    c51_a_dropped_create_can_be_repeated finds CreatesInSteps, CreateReplacesItsOwn;
    c52_list_pages_are_bounded_and_ordered finds ListIgnoresLimit, RotationListsAnew;
    c52_list_is_complete_during_writes finds ListCounts, RotationListsAnew;
    c52_delete_all_is_complete_during_writes finds DeleteAllSparesTheChanged;
    c52_a_foreign_cursor_is_an_error finds ForeignCursorStarts;
    c53_delete_everyone_stays_in_its_namespace finds EveryoneEverywhere;
    c53_delete_everyone_ends_all_sessions_in_pages finds EveryoneIsUsersOnly, EveryoneAtOnce;
    c53_delete_everyone_accepts_every_limit finds EveryoneOfNoneEnds;
    c53_delete_everyone_is_complete_during_writes finds EveryoneSparesTheChanged;
    c53_delete_everyone_ends_corrupt_records finds EveryoneSparesTheCorrupt;
    c54_a_copy_keeps_ages_deadline_and_versions finds CopyResetsAges, CopyResetsVersion;
    c54_a_copy_expires_with_the_original finds CopyProlongs;
    c54_extreme_numbers_are_stored_exactly finds GenerationIsSigned, VersionIsShort;
    s12_stored_bytes_hold_no_secret finds DumpsNothing;
}
