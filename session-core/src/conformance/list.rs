//! The list of all checks.

/// Hands the names of all checks to another macro, after what that macro is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ($callback:path $(, $given:tt)*) => {
        $callback! {
            $($given)*
            c01_created_records_are_visible_to_every_client
            c02_a_taken_key_keeps_its_record
            c02_an_expired_leftover_is_replaced
            c02_one_of_many_creators_wins
            c03_load_gives_back_what_was_stored
            c03_age_and_ttl_follow_the_backends_clock
            c03_a_commit_tells_the_record_as_load_does
            c04_a_record_without_values_is_a_record
            c05_missing_and_malformed_keys_are_absent
            c05_odd_keys_are_just_keys
            c06_every_json_value_survives_exactly
            c07_odd_names_survive_and_do_not_collide
            c08_refusals_need_no_backend
            c08_data_over_the_cap_is_refused
            c08_lives_out_of_range_are_refused
            c09_a_commit_sets_and_removes_and_leaves_the_rest
            c09_no_choice_of_changes_takes_from_the_others
            c09_readers_see_all_of_a_commit_or_nothing
            c10_the_last_intent_for_a_name_counts
            c11_clear_removes_all_but_what_the_commit_sets
            c12_stale_commits_on_different_names_both_survive
            c12_concurrent_commits_on_different_names_all_survive
            c13_on_one_name_the_later_wins_under_any
            c13_a_stale_version_is_a_conflict_and_changes_nothing
            c14_concurrent_adds_lose_nothing
            c15_add_starts_from_zero
            c15_an_impossible_add_is_refused_and_changes_nothing
            c16_guarded_increments_lose_nothing
            c16_of_many_commits_under_one_version_one_wins
            c17_a_commit_never_creates
            c18_a_delete_among_commits_leaves_no_record
            c18_a_delete_against_a_rotation_has_an_order
            c19_delete_says_whether_a_record_was_there
            c20_the_version_counts_changes_and_nothing_else
            c21_an_empty_commit_writes_nothing
            c22_a_moved_record_lives_under_its_new_key_alone
            c22_a_move_and_its_changes_are_one_step
            c22_a_move_out_of_the_lineage_is_refused
            c23_of_concurrent_moves_exactly_one_wins
            c24_a_move_onto_a_live_key_is_a_conflict
            c24_a_move_onto_an_expired_leftover_replaces_it
            c25_a_dead_record_does_not_move
            c26_a_record_dies_at_its_ttl
            c27_an_expired_record_is_dead_for_every_method
            c28_the_deadline_moves_only_when_asked
            c28_shortening_a_life_works
            c29_each_record_has_its_own_ttl
            c30_delete_expired_takes_only_the_expired_and_counts_them
            c30_purging_follows_the_deadline_of_now
            c30_purging_beside_traffic_disturbs_nobody
            c31_the_cost_of_purging_follows_what_expired
            c32_list_shows_the_live_sessions_newest_first
            c32_similar_principals_do_not_leak
            c33_the_index_follows_the_record
            c34_a_record_without_principal_is_in_no_index
            c35_delete_all_ends_all_but_the_exception
            c35_a_racing_sign_in_is_killed_or_fully_alive
            c36_a_thousand_sessions_of_one_principal_work
            c37_a_scan_visits_every_live_record_and_ends
            c37_a_scan_gives_whole_records
            c37_a_scan_misses_nothing_while_others_write
            c38_namespaces_do_not_see_each_other
            c38_a_purge_stays_in_its_namespace
            c38_clients_of_one_namespace_share_it
            c39_a_corrupt_record_is_reported_and_left_alone
            c40_a_record_of_a_newer_format_is_reported_and_not_overwritten
            c41_dropped_calls_leave_the_record_whole
            c41_dropped_moves_leave_one_live_key
            c41_dropped_creates_and_deletes_leave_all_or_nothing
            c41_dropped_reads_leave_the_client_working
            c42_a_stopped_backend_is_an_error_in_time_and_comes_back
            c43_a_hung_backend_is_an_error_in_time_and_comes_back
            c43_queued_calls_on_a_hung_backend_end_together
            c44_opening_an_empty_storage_at_once_succeeds
            c45_nothing_printed_shows_a_password_or_a_key
            s12_stored_bytes_hold_no_session_id
        }
    };
}

/// Makes one test of each conformance check.
///
/// It takes an expression whose value is a future of a [`Fixture`](crate::conformance::Fixture), or of an `Option` of one where the backend
/// may not be there; each test awaits a new one. The tests are
/// `#[tokio::test(flavor = "multi_thread")]` functions named like the checks, so a second call needs a module of its own. The calling crate
/// needs `tokio` with the features `macros` and `rt-multi-thread`.
///
/// [`own_store`](crate::own_store) has a whole example.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::__conformance_checks!($crate::__conformance_test_each, ($fixture));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test_each {
    (($fixture:expr) $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $check() {
                if let Some(fixture) = $crate::conformance::Given::given($fixture.await) {
                    $crate::conformance::$check(&fixture).await;
                }
            }
        )*
    };
}

macro_rules! names {
    ($($check:ident)*) => {
        /// The names of all checks, in the order of the checklist.
        pub const CHECKS: &[&str] = &[$(stringify!($check)),*];
    };
}

crate::__conformance_checks!(names);
