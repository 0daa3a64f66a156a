//! Clauses that cannot be seen from outside of a product, or not in the time of a test, and where they are tested instead.

use std::time::Duration;

use super::report::{Outcome, Verdict};

#[rustfmt::skip]
const UNSEEN: &[(&str, &str, &str)] = &[
    ("HB-VER-001", "the text that a version pins never changes", "tests/platform/contract.rs: v1_is_what_it_was"),
    ("HB-VER-002", "a deviation without a reason does not start", "tests/platform/contract.rs: a_deviation_without_a_reason_does_not_start"),
    ("HB-REQ-002", "a trace that is not continued is linked to", "halfbyte-observe/tests/observe/propagation.rs: a_trace_of_somebody_who_is_not_believed_is_linked_to_and_a_new_one_starts"),
    ("HB-REQ-002", "calls that the product makes carry the trace on, and no baggage", "halfbyte-observe/tests/observe/client/propagation.rs: a_call_belongs_to_the_trace_that_it_is_made_in_and_says_so, baggage_goes_out_only_where_its_key_is_allowed"),
    ("HB-REQ-004", "the work of a request whose deadline passes is dropped", "tests/platform/layers.rs: a_response_that_does_not_begin_in_time_is_refused_and_its_work_is_dropped"),
    ("HB-REQ-005", "a request counts up to the end of its streamed body", "tests/platform/layers.rs: one_request_too_many_is_refused_until_a_streamed_body_has_been_sent_or_dropped"),
    ("HB-REQ-006", "who does not tell its protocol within 10 seconds is let go", "tests/platform/product.rs: a_client_that_does_not_say_its_protocol_is_let_go"),
    ("HB-AUTH-004", "tokens of each make of issuer are told by its marks", "halfbyte-identity/src/claims/tests_presets.rs: a_token_of_each_make_says_who_calls, an_id_token_of_each_make_is_no_access_token_even_for_our_audience"),
    ("HB-AUTH-005", "a subject without a tenant is a tenant of its own", "halfbyte-identity/src/claims/tests.rs: a_subject_without_a_tenant_is_its_own_and_never_a_tenant_of_that_name"),
    ("HB-AUTH-006", "a key that was not there is not looked for again for 5 seconds", "halfbyte-identity/tests/identity/remote/rotation.rs: a_key_that_the_issuer_does_not_have_is_looked_for_once_and_then_remembered"),
    ("HB-AUTH-010", "a good answer brings a nonce when that of its proof is about to end", "halfbyte-identity/src/dpop/tests_nonce.rs: a_nonce_that_is_old_is_good_once_more_and_the_answer_brings_the_new_one"),
    ("HB-AUTH-011", "what an issuer says of a token is kept for at most 30 seconds", "halfbyte-identity/src/introspection/tests.rs: a_revocation_at_the_issuer_is_seen_within_half_a_minute"),
    ("HB-AUTH-016", "a stream ends when its credential expires, and by what stores were told elsewhere", "halfbyte-identity/tests/identity/revoked/ties.rs: a_tie_ends_when_the_credential_expires_and_not_before, a_stream_ends_when_its_api_key_is_revoked_by_another_process, a_stream_ends_when_its_token_is_revoked_at_the_embedded_issuer"),
    ("HB-ACC-001", "what cannot be evaluated is denied", "halfbyte-identity/tests/access/explain.rs: what_cannot_be_evaluated_denies_and_says_what_to_do"),
    ("HB-ACC-002", "both are unavailable while the product's data cannot be had", "halfbyte-identity/tests/access/layer.rs: it_is_unavailable_while_the_provider_fails_or_there_are_no_policies"),
    ("HB-ACC-003", "a service may do only what its scopes were declared for", "halfbyte-identity/tests/access/decisions.rs: a_service_may_do_only_what_it_was_granted"),
    ("HB-ACC-003", "nothing is decided by what is of another tenant", "halfbyte-identity/tests/access/isolation.rs: nothing_is_allowed_that_the_base_set_forbids"),
    ("HB-ACC-004", "without good policies, or data, routes that ask them are unavailable", "halfbyte-identity/tests/access/layer.rs: it_is_unavailable_while_the_provider_fails_or_there_are_no_policies, halfbyte-identity/tests/access/around.rs: without_a_policy_of_the_products_own_it_is_unavailable_and_nothing_is_asked, tests/platform/access.rs: when_nobody_knows_any_more_who_is_suspended_routes_that_ask_policies_are_unavailable"),
    ("HB-ACC-004", "a newer set that is not good changes nothing", "halfbyte-identity/tests/access/reload/folder.rs: a_folder_that_changes_is_put_in_force_and_a_bad_set_leaves_the_last_good_one"),
    ("HB-ACC-005", "a product whose routes ask policies that it does not have does not serve", "tests/platform/access.rs: routes_that_ask_policies_are_not_served_without_any_that_know_the_action, what_does_not_go_with_the_policies_is_logged_when_the_product_begins_to_serve"),
    ("HB-ISS-002", "a form that comes slowly is given up, and without its state the issuer is unavailable", "halfbyte-identity/tests/identity/embedded/forms.rs: a_form_that_hangs_or_never_ends_is_given_up, while_the_file_cannot_be_read_each_endpoint_says_503_to_whom_it_does_not_know"),
    ("HB-ISS-006", "a revocation holds in other processes within two seconds", "halfbyte-identity/tests/identity/embedded/revocation.rs: a_revoked_token_is_refused_from_the_next_request_on_and_no_other_is"),
    ("HB-ISS-008", "at most eight act one for the other", "halfbyte-identity/tests/identity/embedded/exchange.rs: each_who_acts_is_named_and_there_are_at_most_eight"),
    ("HB-REQ-007", "TLS, and which protocols it chooses", "tests/platform/tls.rs, tests/platform/no_tls.rs"),
    ("HB-REQ-008", "too many headers, streams and resets, and a silent end", "src/serve/tests/limits.rs"),
    ("HB-REQ-009", "a client that takes nothing is let go", "src/serve/tests/slow.rs"),
    ("HB-REQ-010", "a body that does not come on", "src/serve/tests/slow.rs"),
    ("HB-USE-004", "usage of a process that was killed is counted", "halfbyte-billing/tests/billing/kills.rs, halfbyte-billing/tests/backends/kills.rs"),
    ("HB-USE-006", "a request whose usage cannot be recorded is refused, and a body that began breaks off", "halfbyte-billing/tests/billing/layers.rs, halfbyte-billing/tests/billing/bodies.rs"),
    ("HB-USE-007", "the ends of days, months and years in every time zone", "halfbyte-billing/src/period/anchor.rs, halfbyte-billing/tests/billing/plans.rs"),
    ("HB-USE-008", "bytes of bodies, settled once however they end", "halfbyte-billing/tests/billing/bodies.rs"),
    ("HB-USE-009", "gRPC calls by the status in their trailers", "halfbyte-billing/tests/billing/bodies.rs"),
    ("HB-USE-010", "the order in which lots are used up, and what is given back", "halfbyte-billing/tests/billing/grants.rs, halfbyte-billing/tests/billing/corrections.rs"),
    ("HB-USE-011", "soft limits, grace and prepaid features", "halfbyte-billing/tests/billing/plans.rs, halfbyte-billing/tests/billing/grants.rs, tests/platform/usage.rs"),
    ("HB-USE-013", "what is decided while the store is away", "halfbyte-billing/tests/billing/fallback.rs, halfbyte-billing/tests/backends/away.rs"),
    ("HB-USE-014", "limits over machines, and what a process held that has died", "halfbyte-billing/tests/billing/processes.rs, halfbyte-billing/tests/backends/processes.rs"),
    ("HB-USE-015", "usage events that a product takes in", "halfbyte-billing/tests/billing/ingest.rs"),
    ("HB-LIFE-002", "signals of the system, and telemetry that no collector takes", "tests/platform/life.rs, halfbyte-observe/tests/observe/shutdown.rs, halfbyte-observe/tests/observe/outage.rs"),
    ("HB-LIFE-003", "a second signal ends the process", "tests/platform/life.rs, src/drain.rs"),
    ("HB-LIFE-004", "exit codes 69 and 78", "tests/platform/start.rs"),
    ("HB-LIFE-005", "a configuration that cannot be used, with every fault at once", "halfbyte-core/tests/core/config.rs"),
    ("HB-LIFE-008", "the steps of a life, and what they took", "tests/platform/life.rs, src/drain.rs"),
    ("HB-LIFE-010", "streams and upgraded connections in a drain", "src/serve/tests/drain.rs"),
    ("HB-LIFE-011", "sockets that a service manager hands over", "tests/platform/hand_over.rs"),
    ("HB-LIFE-012", "what a service manager is told", "src/notify.rs"),
    ("HB-LIFE-013", "TLS without a certificate", "tests/platform/tls.rs, tests/platform/no_tls.rs"),
    ("HB-TEL-005", "the limit of requests at once, as it moves", "tests/platform/admin.rs"),
    ("HB-TEL-006", "metrics as Prometheus reads them", "tests/platform/admin.rs"),
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

    /// Each file that is named is there, and each test that is named stands in one of them.
    #[test]
    fn what_is_said_to_be_tested_elsewhere_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (clause, what, tested) in UNSEEN {
            let words = || tested.split([' ', ',', ':']);
            let files = words().filter(|word| word.ends_with(".rs"));
            let texts = files.map(|file| {
                std::fs::read_to_string(root.join(file))
                    .unwrap_or_else(|error| panic!("{clause}, {what}: {file}: {error}"))
            });
            let text: String = texts.collect();
            assert!(!text.is_empty(), "{clause}, {what}: no file is named");
            for name in words().filter(|word| !word.ends_with(".rs") && word.matches('_').count() > 2) {
                assert!(text.contains(&format!("fn {name}(")), "{clause}, {what}: there is no {name}");
            }
        }
    }
}
