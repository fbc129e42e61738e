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
                        assert!(text.contains("expected:") && text.contains("came:"), "{} panics instead of complaining about {}: {text}", stringify!($check), stringify!($fault));
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
    c02_a_taken_key_keeps_its_record finds CreateOverwrites;
    c02_an_expired_leftover_is_replaced finds LeftoversBlock, ForgetsExpiry;
    c02_one_of_many_creators_wins finds CreateOverwrites;
    c03_load_gives_back_what_was_stored finds ForgetsAttributes;
    c03_age_and_ttl_follow_the_backends_clock finds TellsFirstTtl, ForgetsExpiry;
    c03_a_commit_tells_the_record_as_load_does finds CommitTellsNoTtl, CommitTellsNoAuthentication;
    c03_odd_principals_come_back_exactly finds TrimsPrincipals;
    c04_a_record_without_values_is_a_record finds EmptyIsAbsent;
    c05_missing_and_malformed_keys_are_absent finds MissingIsAnError, Upserts, RotatesTheDead;
    c05_odd_keys_are_just_keys finds KeysFoldCase, KeysArePadded;
    c05_hashes_of_any_bytes_are_compared_byte_for_byte finds HashesEndAtZero, HashesFoldCase;
    c06_every_json_value_survives_exactly finds RewritesJson;
    c07_odd_names_survive_and_do_not_collide finds DotsCollide;
    c08_data_over_the_cap_is_refused finds NoCap;
    c08_lives_out_of_range_are_refused finds ClampsTtl;
    c08_refusals_need_no_backend finds ChecksAfterAsking;
    c08_inconsistent_new_records_are_refused finds RepairsNewRecords;
    c09_a_commit_sets_and_removes_and_leaves_the_rest finds ReplacesAll, IgnoresRemove;
    c09_no_choice_of_changes_takes_from_the_others finds EndsAtTheFirstRemoved, KeepsOneValue, IgnoresRemove, ReplacesAll;
    c09_readers_see_all_of_a_commit_or_nothing finds WritesChangeByChange, RotatesFirst;
    c10_the_last_intent_for_a_name_counts finds IgnoresRemove, FirstWins;
    c11_clear_removes_all_but_what_the_commit_sets finds ClearsLast;
    c12_stale_commits_on_different_names_both_survive finds WritesStaleCopy, ReplacesAll;
    c12_concurrent_commits_on_different_names_all_survive finds WritesStaleCopy;
    c13_on_one_name_the_later_wins_under_any finds FirstWins;
    c13_a_stale_version_is_a_conflict_and_changes_nothing finds IgnoresGuard;
    c14_concurrent_adds_lose_nothing finds AddReadsThenWrites;
    c15_add_starts_from_zero finds AddNeedsValue;
    c15_an_impossible_add_is_refused_and_changes_nothing finds AddSaturates, WritesChangeByChange, RotatesFirst;
    c16_guarded_increments_lose_nothing finds IgnoresGuard;
    c16_of_many_commits_under_one_version_one_wins finds IgnoresGuard;
    c17_a_commit_never_creates finds Upserts, RotatesTheDead;
    c18_a_delete_among_commits_leaves_no_record finds Revives;
    c18_a_delete_beats_a_rotation_in_every_order finds RotatesByReplacing;
    c19_delete_says_whether_a_record_was_there finds DeleteSaysEnded;
    c20_the_version_counts_changes_and_nothing_else finds TouchIsAChange, RotationIsAChange, WritesChangeByChange;
    c21_an_empty_commit_writes_nothing finds AlwaysTouches;
    c22_a_rotated_session_opens_with_its_new_secret_alone finds AcceptsSuperseded, RotationIsAChange, RotationMovesDeadline,
        RotationResetsAge, RotationRestartsAuthentication, RotationIsNotStamped, SinceFollowsRotations;
    c22_a_rotation_and_its_changes_are_one_step finds RotatesFirst;
    c22_generation_and_since_follow_the_commits finds SinceFollowsRotations, GenerationIsSigned;
    c22_a_grace_reads_for_so_long_and_never_writes finds ForgetsGrace, GraceIsLongest, GraceWrites;
    c22_the_next_rotation_forgets_the_secret_before_it finds GraceSurvivesRotation;
    c22_a_grace_out_of_range_is_refused finds ClampsGrace;
    c23_a_rotation_among_adds_has_an_order finds RotatesStaleCopy;
    c23_of_concurrent_rotations_exactly_one_wins finds ComparesThenRotates, AcceptsSuperseded;
    c24_a_rotation_changes_no_key_and_no_index finds RotationListsAnew, RotationMovesDeadline, RotationRestartsAuthentication;
    c25_a_dead_session_does_not_rotate finds RotatesTheDead;
    c26_a_record_dies_at_its_ttl finds ForgetsExpiry;
    c27_an_expired_record_is_dead_for_every_method finds ForgetsExpiry, Upserts, RotatesTheDead, LeftoversBlock, CountsTheExpired;
    c27_ends_do_not_count_the_expired finds CountsTheExpired;
    c28_the_deadline_moves_only_when_asked finds AlwaysTouches, RotationMovesDeadline;
    c28_shortening_a_life_works finds NeverShortens;
    c29_each_record_has_its_own_ttl finds ForgetsExpiry, NeverShortens;
    c30_delete_expired_takes_only_the_expired_and_counts_them finds PurgesLiving;
    c30_purging_follows_the_present_deadline finds PurgesByFirstDeadline;
    c30_purging_beside_traffic_disturbs_no_call finds PurgeLocksOthersOut, PurgesLiving;
    c31_the_cost_of_purging_follows_what_expired finds PurgeReadsAll;
    c32_similar_principals_do_not_leak finds PrincipalsFoldCase;
    c32_list_shows_the_live_sessions_of_the_principal finds ListsKeysOnly, AuthenticationIsAge;
    c33_the_index_follows_the_record finds ListsForever;
    c34_a_record_without_principal_is_in_no_index finds ListsAnonymous;
    c35_delete_all_ends_all_but_the_exception finds IgnoresExcept;
    c35_a_racing_sign_in_is_ended_or_fully_alive finds DeleteAllSparesTheChanged;
    c36_a_thousand_sessions_of_one_principal_work finds ListsAHundred;
    c37_a_scan_visits_every_live_record_and_ends finds ScanSkips;
    c37_a_scan_gives_whole_records finds ScanHalves;
    c37_a_scan_misses_nothing_while_others_write finds ScanCounts;
    c38_namespaces_do_not_see_each_other finds OneNamespace, EveryoneEverywhere;
    c38_a_purge_stays_in_its_namespace finds OneNamespace;
    c38_clients_of_one_namespace_share_it finds NamespacePerClient;
    c39_a_corrupt_record_is_reported_and_left_alone finds CorruptIsAbsent, CorruptIsOverwritten, SupersededBeforeCorrupt;
    c40_a_record_of_a_newer_format_is_reported_and_not_overwritten finds CorruptIsOverwritten, SupersededBeforeCorrupt;
    c41_dropped_calls_leave_the_record_whole finds WritesChangeByChange, DropLocksClient;
    c41_dropped_rotations_leave_one_live_secret finds RotatesFirst, RotatesByReplacing;
    c41_dropped_creates_and_deletes_leave_all_or_nothing finds CreatesInSteps;
    c41_dropped_reads_leave_the_client_working finds DropLocksClient;
    c41_a_dropped_delete_everyone_can_be_repeated finds EveryoneLeavesALock;
    c42_a_stopped_backend_is_an_error_in_time_and_comes_back finds OutageIsAbsent, NeverRecovers;
    c43_a_hung_backend_is_an_error_in_time_and_comes_back finds WaitsForever;
    c43_queued_calls_on_a_hung_backend_end_together finds QueuesBehindDeadlines;
    c44_opening_an_empty_storage_at_once_succeeds finds OpensOneAtATime;
    c45_nothing_printed_shows_a_password_or_a_key finds ShowsPassword, ShowsHash;
    c46_a_superseded_commit_changes_nothing finds AcceptsSuperseded, SupersededTouches, ConflictBeforeSuperseded;
    c46_verdicts_come_in_their_order finds ConflictBeforeSuperseded, RejectsBeforeJudging, SupersededBeforeGone;
    c46_an_empty_commit_is_judged finds EmptyIsDone;
    c46_a_sign_in_without_a_rotation_is_refused finds SignsInWithoutRotation;
    c47_any_claim_ends_a_corrupt_record finds CorruptCannotEnd;
    c47_a_claim_from_before_the_sign_in_ends_nothing finds IgnoresClaim, ClaimMeansGeneration;
    c47_any_claim_ends_an_anonymous_session finds ClaimMeansGeneration, ClaimRemembersSignIn;
    c47_a_claim_against_a_sign_in_has_an_order finds ClaimReadsThenDeletes;
    c48_a_sign_in_stamps_the_authentication finds AuthenticationIsAge;
    c48_other_commits_keep_the_authentication finds RotationRestartsAuthentication, VisitorsAuthenticate;
    c48_a_blind_commit_tells_both_ages finds CommitTellsNoAuthentication, AuthenticationIsAge;
    c49_a_repeated_rotation_lands_once finds RotatesAgain;
    c49_a_dropped_rotation_is_repeated_and_lands_once finds RotatesFirst, RotatesAgain;
    c50_a_flood_of_anonymous_sessions_leaves_room_for_users finds ReservesNoRoom;
    c51_a_repeated_create_changes_nothing finds CreateReplacesItsOwn, CreateOverwrites;
    c51_a_dropped_create_is_repeated_and_lands_once finds CreatesInSteps, CreateReplacesItsOwn;
    c52_pages_of_a_list_are_bounded_and_keep_their_order finds ListIgnoresLimit, RotationListsAnew;
    c52_a_list_is_complete_while_sessions_come_go_and_rotate finds ListCounts, RotationListsAnew;
    c52_delete_all_is_complete_while_sessions_come_and_rotate finds DeleteAllSparesTheChanged;
    c52_a_foreign_cursor_is_an_error finds ForeignCursorStarts;
    c53_delete_everyone_stays_in_its_namespace finds EveryoneEverywhere;
    c53_delete_everyone_ends_all_sessions_in_pages finds EveryoneIsUsersOnly, EveryoneAtOnce;
    c53_delete_everyone_takes_every_limit finds EveryoneOfNoneEnds;
    c53_delete_everyone_is_complete_beside_traffic finds EveryoneSparesTheChanged;
    c53_delete_everyone_ends_corrupt_records finds EveryoneSparesTheCorrupt;
    c54_a_copy_keeps_ages_deadline_and_versions finds CopyResetsAges, CopyResetsVersion;
    c54_a_copy_dies_with_the_original finds CopyProlongs;
    c54_extreme_numbers_are_kept finds GenerationIsSigned, VersionIsShort;
    s12_stored_bytes_hold_no_secret finds DumpsNothing;
}
