//! Every conformance check can fail: each is shown a store with a mistake that it has to find, and the same store without.
#![cfg(feature = "conformance")]

mod client;
mod commit;
mod fault;
mod remote;

use std::{any::Any, collections::BTreeSet, future::Future, thread};

use session_core::conformance::CHECKS;

/// The store without a mistake passes them all, the checks of outages and corrupt records among them.
mod faultless {
    use crate::{fault::Fault, remote::RemoteFixture};

    session_core::conformance_tests!(async { RemoteFixture::new(Fault::Faultless) });
}

/// Runs a check on a runtime of its own, because it is expected to panic in the middle of what it does.
fn complaint_of<F: Future<Output = ()>>(check: impl FnOnce() -> F + Send + 'static) -> Option<String> {
    let run = move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap_or_else(|error| panic!("{error}"));
        runtime.block_on(check());
        runtime.shutdown_background();
    };
    let text = |panic: Box<dyn Any + Send>| panic.downcast::<String>().map_or_else(|_| "a panic without text".to_owned(), |text| *text);
    thread::spawn(run).join().err().map(text)
}

/// `check finds Fault` lines: a test for each, and the set of checks that find something.
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
    c03_load_gives_back_what_was_stored finds ForgetsLifetime;
    c03_age_and_ttl_follow_the_backends_clock finds TellsFirstTtl, ForgetsExpiry;
    c03_a_commit_tells_the_record_as_load_does finds CommitTellsNoTtl;
    c04_a_record_without_values_is_a_record finds EmptyIsAbsent;
    c05_missing_and_malformed_keys_are_absent finds MissingIsAnError, Upserts;
    c05_odd_keys_are_just_keys finds KeysFoldCase;
    c06_every_json_value_survives_exactly finds RewritesJson;
    c07_odd_names_survive_and_do_not_collide finds DotsCollide;
    c08_data_over_the_cap_is_refused finds NoCap;
    c08_lives_out_of_range_are_refused finds ClampsTtl;
    c08_refusals_need_no_backend finds ChecksAfterAsking;
    c09_a_commit_sets_and_removes_and_leaves_the_rest finds ReplacesAll, IgnoresRemove;
    c09_no_choice_of_changes_takes_from_the_others finds EndsAtTheFirstRemoved, KeepsOneValue, IgnoresRemove, ReplacesAll;
    c09_readers_see_all_of_a_commit_or_nothing finds WritesChangeByChange;
    c10_the_last_intent_for_a_name_counts finds IgnoresRemove, FirstWins;
    c11_clear_removes_all_but_what_the_commit_sets finds ClearsLast;
    c12_stale_commits_on_different_names_both_survive finds WritesStaleCopy, ReplacesAll;
    c12_concurrent_commits_on_different_names_all_survive finds WritesStaleCopy;
    c13_on_one_name_the_later_wins_under_any finds FirstWins;
    c13_a_stale_version_is_a_conflict_and_changes_nothing finds IgnoresGuard;
    c14_concurrent_adds_lose_nothing finds AddReadsThenWrites;
    c15_add_starts_from_zero finds AddNeedsValue;
    c15_an_impossible_add_is_refused_and_changes_nothing finds AddSaturates, AddReadsThenWrites, WritesChangeByChange;
    c16_guarded_increments_lose_nothing finds IgnoresGuard;
    c16_of_many_commits_under_one_version_one_wins finds IgnoresGuard;
    c17_a_commit_never_creates finds Upserts;
    c18_a_delete_among_commits_leaves_no_record finds Revives;
    c18_a_delete_against_a_rotation_has_an_order finds MovesInSteps;
    c19_delete_says_whether_a_record_was_there finds DeleteSaysTrue;
    c20_the_version_counts_changes_and_nothing_else finds TouchIsAChange, WritesChangeByChange;
    c21_an_empty_commit_writes_nothing finds AlwaysTouches;
    c22_a_moved_record_lives_under_its_new_key_alone finds MoveKeepsOld, MovesInSteps;
    c22_a_move_and_its_changes_are_one_step finds MovesFirst;
    c22_a_move_out_of_the_lineage_is_refused finds MovesAnywhere;
    c23_of_concurrent_moves_exactly_one_wins finds MovesInSteps;
    c24_a_move_onto_a_live_key_is_a_conflict finds MoveOverwrites;
    c24_a_move_onto_an_expired_leftover_replaces_it finds LeftoversBlock;
    c25_a_dead_record_does_not_move finds MovesTheDead;
    c26_a_record_dies_at_its_ttl finds ForgetsExpiry;
    c27_an_expired_record_is_dead_for_every_method finds ForgetsExpiry, Upserts, MovesTheDead, LeftoversBlock;
    c28_the_deadline_moves_only_when_asked finds AlwaysTouches;
    c28_shortening_a_life_works finds NeverShortens;
    c29_each_record_has_its_own_ttl finds ForgetsExpiry, NeverShortens;
    c30_delete_expired_takes_only_the_expired_and_counts_them finds PurgesLiving;
    c30_purging_follows_the_deadline_of_now finds PurgesByFirstDeadline;
    c30_purging_beside_traffic_disturbs_nobody finds PurgeLocksOthersOut, PurgesLiving;
    c31_the_cost_of_purging_follows_what_expired finds PurgeReadsAll;
    c32_list_shows_the_live_sessions_newest_first finds ListsOldestFirst;
    c32_similar_principals_do_not_leak finds PrincipalsFoldCase;
    c33_the_index_follows_the_record finds ListsForGood, MoveKeepsOld;
    c34_a_record_without_principal_is_in_no_index finds ListsAnonymous;
    c35_delete_all_ends_all_but_the_exception finds IgnoresExcept;
    c35_a_racing_sign_in_is_killed_or_fully_alive finds DeletesWhatItListed;
    c36_a_thousand_sessions_of_one_principal_work finds ListsAHundred;
    c37_a_scan_visits_every_live_record_and_ends finds ScanSkips;
    c37_a_scan_gives_whole_records finds ScanHalves;
    c37_a_scan_misses_nothing_while_others_write finds ScanCounts;
    c38_namespaces_do_not_see_each_other finds OneNamespace;
    c38_a_purge_stays_in_its_namespace finds OneNamespace;
    c38_clients_of_one_namespace_share_it finds NamespacePerClient;
    c39_a_corrupt_record_is_reported_and_left_alone finds CorruptIsAbsent, CorruptIsOverwritten;
    c40_a_record_of_a_newer_format_is_reported_and_not_overwritten finds CorruptIsOverwritten;
    c41_dropped_calls_leave_the_record_whole finds WritesChangeByChange, DropLocksClient;
    c41_dropped_moves_leave_one_live_key finds MovesInSteps;
    c41_dropped_creates_and_deletes_leave_all_or_nothing finds CreatesInSteps;
    c41_dropped_reads_leave_the_client_working finds DropLocksClient;
    c42_a_stopped_backend_is_an_error_in_time_and_comes_back finds OutageIsAbsent, NeverRecovers;
    c43_a_hung_backend_is_an_error_in_time_and_comes_back finds WaitsForGood;
    c43_queued_calls_on_a_hung_backend_end_together finds QueuesBehindDeadlines;
    c44_opening_an_empty_storage_at_once_succeeds finds OpensOneAtATime;
    c45_nothing_printed_shows_a_password_or_a_key finds ShowsPassword;
    s12_stored_bytes_hold_no_session_id finds DumpsNothing;
}
