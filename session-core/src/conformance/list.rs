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
            c03_odd_principals_come_back_exactly
            c04_a_record_without_values_is_a_record
            c05_missing_and_malformed_keys_are_absent
            c05_odd_keys_are_just_keys
            c05_hashes_of_any_bytes_are_compared_byte_for_byte
            c06_every_json_value_survives_exactly
            c07_odd_names_survive_and_do_not_collide
            c08_refusals_need_no_backend
            c08_data_over_the_cap_is_refused
            c08_lives_out_of_range_are_refused
            c08_inconsistent_new_records_are_refused
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
            c18_a_delete_beats_a_rotation_in_every_order
            c19_delete_says_whether_a_record_was_there
            c20_the_version_counts_changes_and_nothing_else
            c21_an_empty_commit_writes_nothing
            c22_a_rotated_session_opens_with_its_new_secret_alone
            c22_a_rotation_and_its_changes_are_one_step
            c22_generation_and_since_follow_the_commits
            c22_a_grace_reads_for_so_long_and_never_writes
            c22_the_next_rotation_forgets_the_secret_before_it
            c22_a_grace_out_of_range_is_refused
            c23_a_rotation_among_adds_has_an_order
            c23_of_concurrent_rotations_exactly_one_wins
            c24_a_rotation_changes_no_key_and_no_index
            c25_a_dead_session_does_not_rotate
            c26_a_record_dies_at_its_ttl
            c27_an_expired_record_is_dead_for_every_method
            c27_ends_do_not_count_the_expired
            c28_the_deadline_moves_only_when_asked
            c28_shortening_a_life_works
            c29_each_record_has_its_own_ttl
            c30_delete_expired_takes_only_the_expired_and_counts_them
            c30_purging_follows_the_present_deadline
            c30_purging_beside_traffic_disturbs_no_call
            c31_the_cost_of_purging_follows_what_expired
            c32_similar_principals_do_not_leak
            c32_list_shows_the_live_sessions_of_the_principal
            c33_the_index_follows_the_record
            c34_a_record_without_principal_is_in_no_index
            c35_delete_all_ends_all_but_the_exception
            c35_a_racing_sign_in_is_ended_or_fully_alive
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
            c41_dropped_creates_and_deletes_leave_all_or_nothing
            c41_dropped_reads_leave_the_client_working
            c41_dropped_rotations_leave_one_live_secret
            c41_a_dropped_delete_everyone_can_be_repeated
            c42_a_stopped_backend_is_an_error_in_time_and_comes_back
            c43_a_hung_backend_is_an_error_in_time_and_comes_back
            c43_queued_calls_on_a_hung_backend_end_together
            c44_opening_an_empty_storage_at_once_succeeds
            c45_nothing_printed_shows_a_password_or_a_key
            c46_a_superseded_commit_changes_nothing
            c46_verdicts_come_in_their_order
            c46_an_empty_commit_is_judged
            c46_a_sign_in_without_a_rotation_is_refused
            c47_any_claim_ends_a_corrupt_record
            c47_a_claim_from_before_the_sign_in_ends_nothing
            c47_any_claim_ends_an_anonymous_session
            c47_a_claim_against_a_sign_in_has_an_order
            c48_a_sign_in_stamps_the_authentication
            c48_other_commits_keep_the_authentication
            c48_a_blind_commit_tells_both_ages
            c49_a_repeated_rotation_lands_once
            c49_a_dropped_rotation_is_repeated_and_lands_once
            c50_a_flood_of_anonymous_sessions_leaves_room_for_users
            c51_a_repeated_create_changes_nothing
            c51_a_dropped_create_is_repeated_and_lands_once
            c52_pages_of_a_list_are_bounded_and_keep_their_order
            c52_a_list_is_complete_while_sessions_come_go_and_rotate
            c52_delete_all_is_complete_while_sessions_come_and_rotate
            c52_a_foreign_cursor_is_an_error
            c53_delete_everyone_stays_in_its_namespace
            c53_delete_everyone_ends_all_sessions_in_pages
            c53_delete_everyone_takes_every_limit
            c53_delete_everyone_is_complete_beside_traffic
            c53_delete_everyone_ends_corrupt_records
            c54_a_copy_keeps_ages_deadline_and_versions
            c54_a_copy_dies_with_the_original
            c54_extreme_numbers_are_kept
            s12_stored_bytes_hold_no_secret
        }
    };
}

/// Makes one test of each conformance check.
///
/// It takes an expression whose value is a future of a [`Fixture`](crate::conformance::Fixture), or
/// of an `Option` of one where the backend may not be installed; each test awaits a new one. The
/// tests are `#[tokio::test(flavor = "multi_thread")]` functions named like the checks, so a second
/// call needs its own module. The calling crate needs `tokio` with the features `macros` and
/// `rt-multi-thread`.
///
/// [`own_store`](crate::own_store) has a complete example.
#[macro_export]
macro_rules! conformance_tests {
    (|$name:ident| $fixture:expr) => {
        $crate::__conformance_checks!($crate::__conformance_test_each, (|$name| $fixture));
    };
    ($fixture:expr) => {
        $crate::__conformance_checks!($crate::__conformance_test_each, ($fixture));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test_each {
    ((|$name:ident| $fixture:expr) $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let $name = stringify!($check);
                if let Some(fixture) = $crate::conformance::IntoFixture::into_fixture($fixture.await) {
                    $crate::conformance::$check(&fixture).await;
                }
            }
        )*
    };
    (($fixture:expr) $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $check() {
                if let Some(fixture) = $crate::conformance::IntoFixture::into_fixture($fixture.await) {
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
