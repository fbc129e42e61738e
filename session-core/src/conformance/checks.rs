//! The list of all checks, and the macro that makes a test of each.
//!
//! # How to add a check
//! 1. Write `pub async fn cNN_behavior(fixture: &dyn Fixture)` in the file of its subject, for
//!    example `commit.rs` for a promise of `commit`. The first line of its doc comment says what
//!    the check proves.
//! 2. Add its name to the list below, in the order of the ids, a row to `docs/conformance.md` at
//!    the root of the repository, and the name to the law that it proves in `OWN_STORE.md`.
//! 3. Add a line to `tests/planted_faults/main.rs` with a store fault that the check finds. If no
//!    fault fits, add one to `tests/planted_faults/fault.rs`. This proves that the check can fail.
//!
//! The tests in `tests/conformance_checks.rs` and `tests/planted_faults` fail if a step is missing.
//!
//! # Which id a check takes
//! An id stands for one promise of the contract, and a promise may have several checks. A check of
//! a promise in the table of `docs/conformance.md` takes the id of that promise. A check of a new
//! promise takes the next free C number, which is C55; then adapt the range of ids in
//! `tests/conformance_checks.rs`, here and in `docs/conformance.md`. An id is never given to another
//! promise. S12 comes from the list of attacks, because it concerns the store alone.

/// Passes the names of all checks to another macro, after the given tokens.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ($callback:path $(, $given:tt)*) => {
        $callback! {
            $($given)*
            c01_created_records_are_visible_to_every_client
            c02_create_on_a_live_key_changes_nothing
            c02_create_replaces_an_expired_record
            c02_one_of_concurrent_creates_wins
            c03_load_returns_the_stored_record
            c03_age_and_ttl_follow_the_backend_clock
            c03_commit_returns_the_same_fields_as_load
            c03_unusual_principals_are_stored_exactly
            c04_a_record_without_values_exists
            c05_missing_and_malformed_keys_are_absent
            c05_unusual_keys_are_distinct
            c05_secret_hashes_are_compared_byte_for_byte
            c06_json_values_are_stored_exactly
            c07_unusual_names_are_stored_and_distinct
            c08_invalid_calls_are_rejected_before_io
            c08_data_over_the_limit_is_rejected
            c08_ttls_out_of_range_are_rejected
            c08_inconsistent_new_records_are_rejected
            c09_commit_changes_only_the_named_values
            c09_every_combination_of_changes_works
            c09_readers_never_see_part_of_a_commit
            c10_the_last_change_to_a_name_wins
            c11_clear_keeps_only_values_set_by_the_commit
            c12_stale_commits_to_different_names_both_survive
            c12_concurrent_commits_to_different_names_survive
            c13_the_later_commit_wins_under_guard_any
            c13_a_stale_version_is_a_conflict
            c14_concurrent_adds_lose_no_update
            c15_add_starts_from_zero
            c15_an_invalid_add_is_rejected
            c16_guarded_increments_lose_no_update
            c16_one_of_concurrent_guarded_commits_wins
            c17_commit_never_creates_a_record
            c18_delete_among_commits_leaves_no_record
            c18_delete_beats_a_concurrent_rotation
            c19_delete_reports_whether_a_record_existed
            c20_the_version_counts_only_changes
            c21_an_empty_commit_writes_nothing
            c22_only_the_new_secret_opens_a_rotated_session
            c22_a_rotation_and_its_changes_are_atomic
            c22_generation_and_since_follow_the_commits
            c22_a_former_secret_only_reads_during_its_grace
            c22_the_next_rotation_drops_the_older_secret
            c22_a_grace_out_of_range_is_rejected
            c23_a_rotation_among_adds_is_serialized
            c23_one_of_concurrent_rotations_wins
            c24_a_rotation_changes_no_key_or_index_entry
            c25_a_dead_session_cannot_rotate
            c26_a_record_expires_after_its_ttl
            c27_an_expired_record_is_dead_for_every_method
            c27_bulk_deletes_do_not_count_expired_records
            c28_only_a_ttl_moves_the_deadline
            c28_a_commit_can_shorten_the_ttl
            c29_each_record_has_its_own_ttl
            c30_delete_expired_removes_only_expired_records
            c30_delete_expired_uses_the_current_deadline
            c30_delete_expired_disturbs_no_concurrent_call
            c31_purge_cost_follows_the_expired_records
            c32_similar_principals_are_distinct
            c32_list_shows_the_live_sessions_of_the_principal
            c33_the_index_follows_the_record
            c34_an_anonymous_record_is_in_no_index
            c35_delete_all_ends_all_sessions_but_the_exception
            c35_a_racing_sign_in_is_ended_or_fully_live
            c36_one_principal_can_have_a_thousand_sessions
            c37_scan_visits_every_live_record
            c37_scan_returns_whole_records
            c37_scan_is_complete_during_writes
            c38_namespaces_are_isolated
            c38_delete_expired_stays_in_its_namespace
            c38_clients_of_one_namespace_share_records
            c39_a_corrupt_record_is_reported_and_kept
            c40_a_newer_format_is_reported_and_kept
            c41_dropped_calls_leave_the_record_whole
            c41_dropped_creates_and_deletes_are_atomic
            c41_dropped_reads_leave_the_client_usable
            c41_dropped_rotations_leave_one_valid_secret
            c41_a_dropped_delete_everyone_can_be_repeated
            c42_calls_fail_in_time_while_the_backend_is_stopped
            c43_calls_fail_in_time_while_the_backend_hangs
            c43_queued_calls_share_one_deadline
            c44_concurrent_setup_of_an_empty_storage_succeeds
            c45_printed_text_shows_no_secret
            c46_a_superseded_commit_changes_nothing
            c46_outcomes_have_an_order
            c46_an_empty_commit_is_checked
            c46_a_sign_in_without_a_rotation_is_rejected
            c47_any_claim_ends_a_corrupt_record
            c47_a_claim_older_than_the_sign_in_ends_nothing
            c47_any_claim_ends_an_anonymous_session
            c47_a_claim_racing_a_sign_in_is_atomic
            c48_a_sign_in_restarts_the_authentication_age
            c48_other_commits_keep_the_authentication_age
            c48_a_commit_without_a_load_returns_both_ages
            c49_a_repeated_rotation_takes_effect_once
            c49_a_dropped_rotation_can_be_repeated
            c50_anonymous_sessions_leave_room_for_users
            c51_a_repeated_create_changes_nothing
            c51_a_dropped_create_can_be_repeated
            c52_list_pages_are_bounded_and_ordered
            c52_list_is_complete_during_writes
            c52_delete_all_is_complete_during_writes
            c52_a_foreign_cursor_is_an_error
            c53_delete_everyone_stays_in_its_namespace
            c53_delete_everyone_ends_all_sessions_in_pages
            c53_delete_everyone_accepts_every_limit
            c53_delete_everyone_is_complete_during_writes
            c53_delete_everyone_ends_corrupt_records
            c54_a_copy_keeps_ages_deadline_and_versions
            c54_a_copy_expires_with_the_original
            c54_extreme_numbers_are_stored_exactly
            s12_stored_bytes_hold_no_secret
        }
    };
}

/// Makes one test of each conformance check.
///
/// The argument is an expression. Its value is a future of a
/// [`Fixture`](crate::conformance::Fixture), or of an `Option` of one if the backend may be missing
/// on this machine. Each test awaits a new fixture. The tests are
/// `#[tokio::test(flavor = "multi_thread")]` functions with the names of the checks, so a second
/// call of the macro needs its own module. The calling crate needs `tokio` with the features
/// `macros` and `rt-multi-thread`.
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
                use $crate::conformance::IntoFixture;
                let $name = stringify!($check);
                if let Some(fixture) = IntoFixture::into_fixture($fixture.await) {
                    $crate::conformance::$check(&fixture).await;
                }
            }
        )*
    };
    (($fixture:expr) $($check:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $check() {
                use $crate::conformance::IntoFixture;
                if let Some(fixture) = IntoFixture::into_fixture($fixture.await) {
                    $crate::conformance::$check(&fixture).await;
                }
            }
        )*
    };
}

macro_rules! names {
    ($($check:ident)*) => {
        /// The names of all checks, in the order of their ids.
        pub const CHECKS: &[&str] = &[$(stringify!($check)),*];
    };
}

crate::__conformance_checks!(names);
