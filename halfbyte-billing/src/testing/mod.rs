//! The suite that every store must pass, each case on a store of its own.
//!
//! Never enable the feature `testing` in what is shipped.
#![allow(clippy::unwrap_used, reason = "a case that meets what it does not expect fails there")]

mod accounts;
mod aggregates;
mod catalogues;
mod charges;
mod closing;
mod contention;
mod corrections;
mod events;
mod fresh;
mod holders;
mod opening;
mod outbox;
mod parcel;
#[cfg(all(test, feature = "sqlite"))]
mod random;
mod statements;
mod support;
mod usage;

use std::any::type_name;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

pub use self::fresh::Backend;
use self::fresh::Fresh;
#[cfg(all(test, feature = "sqlite"))]
pub(crate) use self::fresh::store_in;

type Run = Pin<Box<dyn Future<Output = ()>>>;

/// A case: it fails by a panic.
struct Case {
    name: &'static str,
    run: Box<dyn Fn(Fresh) -> Run>,
}

fn case<C, F>(case: C) -> Case
where
    C: Fn(Fresh) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    Case { name: type_name::<C>(), run: Box::new(move |fresh| Box::pin(case(fresh))) }
}

/// A new case is an async function and a line here.
fn cases() -> Vec<Case> {
    vec![
        case(opening::processes_may_open_a_new_store_at_once),
        case(opening::a_store_is_opened_again_as_it_was),
        case(opening::a_later_version_is_refused),
        case(opening::what_is_anothers_is_refused),
        case(events::an_event_counts_once_however_often_it_comes),
        case(events::of_several_with_one_name_in_a_batch_the_first_counts),
        case(events::other_content_under_a_known_name_is_a_conflict),
        case(events::sources_and_tenants_are_kept_apart),
        case(events::any_text_comes_back_as_it_was),
        case(events::a_batch_that_is_rolled_back_leaves_nothing),
        case(events::overlapping_batches_of_two_processes_count_each_event_once),
        case(events::who_loses_a_race_for_a_name_is_told_so),
        case(closing::what_comes_late_is_kept_and_not_counted),
        case(closing::a_watermark_is_a_slot_boundary_and_never_moves_back),
        case(closing::one_tenant_is_closed_without_the_others),
        case(closing::what_is_closed_does_not_change_any_more),
        case(corrections::a_void_takes_away_what_was_counted),
        case(corrections::an_amend_counts_at_the_time_of_what_it_amends),
        case(corrections::a_correction_counts_once),
        case(corrections::a_correction_can_be_corrected),
        case(corrections::there_must_be_something_to_correct),
        case(corrections::what_is_corrected_in_its_own_batch_never_counted),
        case(corrections::a_correction_of_a_closed_period_is_late),
        case(corrections::events_and_voids_of_two_processes_do_not_lose_each_other),
        case(aggregates::aggregates_are_what_the_events_say_in_any_order),
        case(aggregates::a_level_goes_on_from_batch_to_batch),
        case(aggregates::levels_of_two_processes_do_not_lose_each_other),
        case(aggregates::the_largest_numbers_stop_nothing),
        case(statements::events_that_charge_nothing_cost_nothing_more),
        case(statements::however_many_charges_there_are_the_statements_are_as_many),
        case(charges::held_units_are_burned_out_of_exactly_their_lots),
        case(charges::a_void_gives_back_to_exactly_the_lots_that_were_burned),
        case(charges::an_event_and_its_void_in_one_batch),
        case(charges::an_amend_is_charged_after_what_it_amends_was_given_back),
        case(charges::what_does_not_count_gives_back_what_was_held_for_it),
        case(charges::grace_and_what_no_lot_has_are_overage),
        case(statements::what_is_refused_for_what_it_is_is_told_from_other_failures),
        case(charges::more_units_than_a_number_of_the_database_holds_count_as_the_largest),
        case(charges::a_charge_burns_no_more_of_what_is_held_than_is_for_it),
        case(holders::leases_of_one_batch_see_what_earlier_ones_took),
        case(holders::an_owner_that_is_not_known_leases_nothing),
        case(holders::a_reservation_expires_by_itself),
        case(holders::a_reservation_that_ends_is_forgotten),
        case(holders::reservations_expire_also_while_processes_are_left_alone),
        case(holders::owners_that_live_keep_what_they_hold),
        case(holders::what_is_held_for_later_uses_of_a_process_that_is_gone_stays_until_the_last),
        case(holders::the_last_uses_of_a_process_that_is_gone_are_counted),
        case(contention::the_last_unit_is_leased_once),
        case(contention::a_lot_that_two_make_at_once_takes_over_once),
        case(contention::a_plan_that_changes_while_others_lease),
        case(contention::who_settles_while_it_is_reclaimed_burns_what_is_there),
        case(contention::many_at_once_never_use_more_than_there_is),
        case(accounts::an_operation_is_done_once_and_answered_alike),
        case(accounts::an_id_with_another_operation_or_customer_is_a_conflict_and_changes_nothing),
        case(accounts::what_is_refused_leaves_its_id_free_and_an_id_that_is_none_is_refused),
        case(accounts::who_asks_for_a_revision_gets_what_changed_after_it),
        case(accounts::a_name_is_of_one_customer),
        case(accounts::customers_come_in_pages),
        case(accounts::a_damaged_account_is_told_from_one_of_a_later_version),
        case(accounts::many_at_once_are_each_done_once),
        case(catalogues::what_is_published_is_what_is_read),
        case(catalogues::a_plan_version_is_kept_when_no_catalogue_has_it_any_more),
        case(catalogues::what_changes_published_versions_is_refused_as_a_whole),
        case(catalogues::a_title_is_no_part_of_what_a_version_holds),
        case(catalogues::of_two_that_publish_at_once_none_is_lost),
        case(catalogues::of_two_that_register_a_version_differently_one_is_refused),
        case(catalogues::what_is_known_already_is_not_written_again),
        case(catalogues::a_version_that_is_not_understood_is_told_so),
        case(usage::totals_are_added_up_for_each_stretch),
        case(usage::different_values_are_counted_once_in_a_stretch),
        case(usage::a_level_is_found_before_a_slot),
        case(usage::events_are_read_page_by_page),
        case(outbox::every_event_is_read_once_while_others_commit),
        case(outbox::what_is_not_committed_holds_back_what_came_after_it),
        case(outbox::an_export_has_one_holder_and_goes_on_where_it_was),
    ]
}

/// Runs all cases on stores of `backend`.
///
/// # Panics
///
/// A case fails: all are run, and those that failed are named.
pub async fn store_suite(backend: &Backend) {
    let mut failed = Vec::new();
    for case in cases() {
        let (fresh, end) = Fresh::on(backend).await;
        let mut run = (case.run)(fresh);
        let passed = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(true),
            Err(_) => Poll::Ready(false),
        });
        if !passed.await {
            failed.push(case.name);
        }
        drop(run);
        end.clean().await;
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

#[cfg(all(test, feature = "sqlite"))]
#[tokio::test]
async fn a_sqlite_file_does_as_the_suite_says() {
    store_suite(&Backend::Sqlite).await;
}
