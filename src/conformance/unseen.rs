//! Clauses that cannot be seen from outside of a product, or not in the time of a test, and where they are tested instead.

use std::time::Duration;

use super::report::{Outcome, Verdict};

#[rustfmt::skip]
const UNSEEN: &[(&str, &str, &str)] = &[
    ("HB-VER-001", "the text that a version pins never changes", "tests/platform/contract.rs: v1_is_what_it_was"),
    ("HB-VER-002", "a deviation without a reason does not start", "tests/platform/contract.rs: a_deviation_without_a_reason_does_not_start"),
    ("HB-REQ-002", "calls that the product makes carry the trace on, and no baggage", "halfbyte-observe/tests/observe/client/propagation.rs: a_call_belongs_to_the_trace_that_it_is_made_in_and_says_so, baggage_goes_out_only_where_its_key_is_allowed"),
    ("HB-REQ-004", "the work of a request whose deadline passes is dropped", "tests/platform/layers.rs: a_response_that_does_not_begin_in_time_is_refused_and_its_work_is_dropped"),
    ("HB-REQ-005", "a request counts up to the end of its streamed body", "tests/platform/layers.rs: one_request_too_many_is_refused_until_a_streamed_body_has_been_sent_or_dropped"),
    ("HB-REQ-005", "of those whose response has not begun, as many as do not wait for each other", "tests/platform/load.rs: an_overloaded_service_does_what_it_can_and_nobody_waits_long_which_a_fixed_limit_does_not_achieve, a_service_that_is_not_overloaded_refuses_nobody_however_slow_it_is, only_work_that_was_done_or_had_no_time_left_moves_the_limit, who_hangs_up_is_no_measure"),
    ("HB-REQ-006", "who does not tell its protocol within 10 seconds is let go", "tests/platform/product.rs: a_client_that_does_not_say_its_protocol_is_let_go"),
    ("HB-AUTH-004", "tokens of each make of issuer are told by its marks", "halfbyte-identity/src/claims/tests_presets.rs: a_token_of_each_make_says_who_calls, an_id_token_of_each_make_is_no_access_token_even_for_our_audience"),
    ("HB-AUTH-006", "a key that was not there is not looked for again for 5 seconds", "halfbyte-identity/tests/identity/remote/rotation.rs: a_key_that_the_issuer_does_not_have_is_looked_for_once_and_then_remembered"),
    ("HB-AUTH-010", "a good answer brings a nonce when that of its proof is about to end", "halfbyte-identity/src/dpop/tests_nonce.rs: a_nonce_that_is_old_is_good_once_more_and_the_answer_brings_the_new_one"),
    ("HB-AUTH-011", "what an issuer says of a token is kept for at most 30 seconds", "halfbyte-identity/src/introspection/tests.rs: a_revocation_at_the_issuer_is_seen_within_half_a_minute"),
    ("HB-AUTH-016", "a stream ends by what stores were told elsewhere", "halfbyte-identity/tests/identity/revoked/ties.rs: a_stream_ends_when_its_api_key_is_revoked_by_another_process, a_stream_ends_when_its_token_is_revoked_at_the_embedded_issuer"),
    ("HB-ACC-001", "what cannot be evaluated is denied", "halfbyte-identity/tests/access/explain.rs: what_cannot_be_evaluated_denies_and_says_what_to_do"),
    ("HB-ACC-002", "both are unavailable while the product's data cannot be had", "halfbyte-identity/tests/access/layer.rs: it_is_unavailable_while_the_provider_fails_or_there_are_no_policies"),
    ("HB-ACC-003", "a service may do only what its scopes were declared for", "halfbyte-identity/tests/access/decisions.rs: a_service_may_do_only_what_it_was_granted"),
    ("HB-ACC-003", "nothing is decided by what is of another tenant", "halfbyte-identity/tests/access/isolation.rs: nothing_is_allowed_that_the_base_set_forbids"),
    ("HB-ACC-004", "without good policies, or data, routes that ask them are unavailable", "halfbyte-identity/tests/access/layer.rs: it_is_unavailable_while_the_provider_fails_or_there_are_no_policies; halfbyte-identity/tests/access/around.rs: without_a_policy_of_the_products_own_it_is_unavailable_and_nothing_is_asked; tests/platform/access.rs: when_nobody_knows_any_more_who_is_suspended_routes_that_ask_policies_are_unavailable"),
    ("HB-ACC-004", "a newer set that is not good changes nothing", "halfbyte-identity/tests/access/reload/folder.rs: a_folder_that_changes_is_put_in_force_and_a_bad_set_leaves_the_last_good_one"),
    ("HB-ACC-005", "a product whose routes ask policies that it does not have does not serve", "tests/platform/access.rs: routes_that_ask_policies_are_not_served_without_any_that_know_the_action, what_does_not_go_with_the_policies_is_logged_when_the_product_begins_to_serve"),
    ("HB-ISS-002", "a form that comes slowly is given up, and without its state the issuer is unavailable", "halfbyte-identity/tests/identity/embedded/forms.rs: a_form_that_hangs_or_never_ends_is_given_up, while_the_file_cannot_be_read_each_endpoint_says_503_to_whom_it_does_not_know"),
    ("HB-REQ-007", "TLS, and which protocols it chooses", "tests/platform/tls.rs: both_protocols_and_both_versions_are_spoken_on_one_listener, a_certificate_is_replaced_without_a_failed_request, a_client_that_does_not_shake_hands_is_let_go"),
    ("HB-REQ-008", "a silent end, after 50 seconds", "src/serve/tests/silent.rs: a_connection_of_http2_whose_other_end_says_nothing_is_closed"),
    ("HB-REQ-009", "a client that takes nothing is let go, after a minute", "src/serve/tests/slow.rs: a_client_of_http1_that_does_not_read_its_response_is_let_go, a_stream_of_http2_that_is_not_read_is_reset_and_the_others_go_on"),
    ("HB-REQ-010", "a body that does not come on, after 10 seconds", "src/serve/tests/slow.rs: a_body_that_trickles_in_ends_with_an_error_and_one_of_grpc_may"),
    ("HB-USE-001", "answers that count because the product says so", "halfbyte-billing/tests/billing/units.rs: the_product_may_say_which_answers_are_paid_for, who_asks_for_nothing_is_let_in_when_the_quota_is_used_up_if_he_has_the_feature"),
    ("HB-USE-003", "what a response turns out to be beyond what was reserved for it", "halfbyte-billing/tests/billing/units.rs: a_response_that_is_more_than_is_left_is_counted_and_the_next_is_refused"),
    ("HB-USE-004", "usage of a process that was killed is counted", "halfbyte-billing/tests/billing/kills.rs: whatever_dies_when_all_that_was_acknowledged_counts_once_and_no_limit_is_exceeded; halfbyte-billing/tests/backends/kills.rs: whatever_dies_when_all_that_was_acknowledged_counts_once_and_no_limit_is_exceeded"),
    ("HB-USE-006", "a request whose usage cannot be recorded is refused, and a body that began breaks off", "halfbyte-billing/tests/billing/layers.rs: work_whose_use_cannot_be_recorded_is_answered_with_503_and_not_given_away; halfbyte-billing/tests/billing/bodies.rs: a_body_whose_use_cannot_be_recorded_ends_with_an_error_in_place_of_its_last_frame"),
    ("HB-USE-007", "the ends of days, months and years in every time zone", "halfbyte-billing/src/period/anchor.rs: the_31st_is_the_last_day_of_a_shorter_month_and_comes_back, boundaries_are_rounded_down_to_quarter_hours, every_instant_is_in_exactly_one_period_in_any_zone; halfbyte-billing/tests/billing/plans.rs: periods_are_counted_from_an_anchor_in_its_zone"),
    ("HB-USE-008", "bytes of bodies, settled once however they end", "halfbyte-billing/tests/billing/bodies.rs: a_body_is_billed_by_its_bytes_and_a_unit_that_is_begun_counts, a_body_that_fails_half_way_is_billed_by_what_was_delivered, a_client_that_hangs_up_half_way_is_billed_by_what_was_delivered, a_body_that_broke_off_does_not_use_up_its_key"),
    ("HB-USE-009", "gRPC calls by the status in their trailers", "halfbyte-billing/tests/billing/bodies.rs: a_grpc_call_is_paid_for_by_the_status_in_its_trailers, bytes_of_a_grpc_call_that_failed_are_not_paid_for"),
    ("HB-USE-010", "the order in which lots are used up, and what is given back", "halfbyte-billing/tests/billing/grants.rs: what_is_burned_first_is_said_by_priority_then_expiry_then_age, requests_burn_in_the_same_order_as_events; halfbyte-billing/tests/billing/corrections.rs: what_is_voided_does_not_count_and_its_units_are_free_again"),
    ("HB-USE-011", "soft limits, grace and prepaid features", "halfbyte-billing/tests/billing/plans.rs: a_soft_limit_lets_through_and_counts_what_goes_beyond, grace_is_used_last_and_counted_as_overage; halfbyte-billing/tests/billing/grants.rs: what_is_prepaid_is_402_when_it_is_used_up_and_goes_on_after_a_grant; tests/platform/usage.rs: who_has_to_pay_is_refused_with_402_and_served_once_something_is_paid"),
    ("HB-USE-013", "what is decided while the store is away", "halfbyte-billing/tests/billing/fallback.rs: while_the_store_is_away_what_is_not_leased_is_denied_or_let_through_at_once, while_the_store_is_away_nobody_is_refused_for_what_it_might_have_to_say, when_nothing_is_known_a_feature_is_denied_or_let_through_and_counted_later_once; halfbyte-billing/tests/backends/away.rs: what_comes_before_anything_is_known_is_counted_later_for_whom_and_out_of_what_it_should_be"),
    ("HB-USE-014", "limits over machines, and what a process held that has died", "halfbyte-billing/tests/billing/processes.rs: a_killed_process_strands_nothing_of_a_limit, a_running_process_takes_over_from_one_that_is_killed; halfbyte-billing/tests/backends/processes.rs: a_hard_limit_is_never_exceeded_whoever_dies_and_all_of_it_can_be_used; halfbyte-billing/tests/billing/adoption.rs: what_a_process_does_not_know_of_a_dead_ones_journal_waits_there_for_one_that_does"),
    ("HB-USE-015", "usage events that a product takes in", "halfbyte-billing/tests/billing/ingest.rs: an_event_counts_once_for_its_source_and_id_also_across_a_restart, what_comes_after_its_period_was_closed_is_late_and_kept_and_what_comes_before_that_counts"),
    ("HB-LIFE-001", "what a process waits for before it is ready for the first time", "tests/platform/admin.rs: startup_is_over_when_it_has_been_ready_once_and_says_before_what_it_waits_for, a_scrape_counts_what_the_collector_is_sent"),
    ("HB-LIFE-002", "signals of the system, and telemetry that no collector takes", "tests/platform/life.rs: either_signal_leads_through_every_step_and_fails_no_request; halfbyte-observe/tests/observe/shutdown.rs: a_collector_that_hangs_does_not_keep_a_process_from_ending; halfbyte-observe/src/export/tests/shutdown.rs: with_a_collector_that_hangs_the_rest_goes_to_disk_and_the_next_process_sends_it"),
    ("HB-LIFE-003", "a second signal ends the process", "tests/platform/life.rs: a_second_signal_ends_the_process_at_once_wherever_the_drain_is, a_signal_after_the_drain_ends_a_process_that_hangs; src/drain.rs: a_drain_that_the_program_began_is_ended_by_the_second_signal_and_not_by_the_first"),
    ("HB-LIFE-004", "70 for requests that do not end within 30 seconds, and after a second signal", "src/serve/tests/drain.rs: streams_that_outlast_the_budget_are_cut_off_and_counted; src/drain.rs: usage_then_tasks_then_telemetry_are_given_their_budgets_and_what_they_leave_is_told; tests/platform/life.rs: a_second_signal_ends_the_process_at_once_wherever_the_drain_is"),
    ("HB-LIFE-005", "a configuration that cannot be used, with every fault at once: a product is given one that was read", "halfbyte-core/tests/core/config.rs: an_unknown_key_is_refused_with_the_nearest_known_name, all_faults_are_reported_at_once, production_refuses_each_embedded_default_and_says_which_key_to_set"),
    ("HB-LIFE-008", "a process that is told to stop while it starts", "tests/platform/life.rs: a_process_that_is_told_to_stop_while_it_starts_lets_nobody_in_and_ends_cleanly; src/drain.rs: a_process_that_is_told_to_stop_while_it_starts_has_no_lame_duck"),
    ("HB-LIFE-010", "what is cut off after 30 seconds, upgraded connections, and a head that is not gone on with", "src/serve/tests/drain.rs: streams_that_outlast_the_budget_are_cut_off_and_counted, upgraded_connections_are_told_and_waited_for, upgraded_connections_that_outlast_the_budget_are_cut_off, a_request_that_is_begun_and_not_gone_on_with_does_not_hold_up_a_drain"),
    ("HB-LIFE-011", "sockets that a service manager hands over", "tests/platform/hand_over.rs: a_successor_takes_over_and_not_one_request_is_lost, while_nobody_serves_clients_wait_at_a_socket_that_is_held_for_them, a_socket_that_is_for_nothing_known_is_refused_with_what_to_set"),
    ("HB-LIFE-013", "a certificate that comes later, or cannot be used", "tests/platform/tls.rs: without_a_certificate_it_is_not_ready_and_says_why_and_serves_once_it_has_one, one_that_cannot_be_used_changes_nothing_but_is_shown; tests/platform/no_tls.rs: a_certificate_that_nothing_would_be_done_with_is_refused"),
    ("HB-TEL-006", "a scrape that takes too long, and a process without an SDK: telemetry is set up once in a process", "tests/platform/admin.rs: a_callback_that_hangs_costs_the_scrape_alone, without_an_sdk_there_are_no_metrics_and_the_answer_says_why"),
];

pub(super) fn outcomes() -> impl Iterator<Item = Outcome> {
    UNSEEN.iter().map(|(clause, what, tested)| Outcome {
        clause,
        what,
        verdict: Verdict::Unseen((*tested).to_owned()),
        took: Duration::ZERO,
        exchanges: Vec::new(),
    })
}

#[cfg(test)]
pub(super) fn clauses() -> impl Iterator<Item = &'static str> {
    UNSEEN.iter().map(|(clause, _, _)| *clause)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Each file that is named is there, with each of the tests that are named after it.
    #[test]
    fn what_is_said_to_be_tested_elsewhere_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (clause, what, tested) in UNSEEN {
            for place in tested.split("; ") {
                let (file, tests) =
                    place.split_once(": ").unwrap_or_else(|| panic!("{clause}, {what}: {place} names no test"));
                let text = std::fs::read_to_string(root.join(file))
                    .unwrap_or_else(|error| panic!("{clause}, {what}: {file}: {error}"));
                for name in tests.split(", ") {
                    let is_there = text.contains(&format!("fn {name}("));
                    assert!(is_there, "{clause}, {what}: there is no {name} in {file}");
                }
            }
        }
    }
}
