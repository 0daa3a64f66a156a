//! Clauses that cannot be seen from outside of a product, or not in the time of a test, and where they are tested instead.

use std::time::Duration;

use super::report::{Outcome, Verdict};

const UNSEEN: &[(&str, &str, &str)] = &[
    (
        "HB-USE-004",
        "usage of a process that was killed is counted",
        "halfbyte-billing/tests/billing/kills.rs, halfbyte-billing/tests/backends/kills.rs",
    ),
    (
        "HB-USE-006",
        "a request whose usage cannot be recorded is refused, and a body that began breaks off",
        "halfbyte-billing/tests/billing/layers.rs, halfbyte-billing/tests/billing/bodies.rs",
    ),
    (
        "HB-USE-007",
        "the ends of days, months and years in every time zone",
        "halfbyte-billing/src/period/anchor.rs, halfbyte-billing/tests/billing/plans.rs",
    ),
    ("HB-USE-008", "bytes of bodies, settled once however they end", "halfbyte-billing/tests/billing/bodies.rs"),
    ("HB-USE-009", "gRPC calls by the status in their trailers", "halfbyte-billing/tests/billing/bodies.rs"),
    (
        "HB-USE-010",
        "the order in which lots are used up, and what is given back",
        "halfbyte-billing/tests/billing/grants.rs, halfbyte-billing/tests/billing/corrections.rs",
    ),
    (
        "HB-USE-011",
        "soft limits, grace and prepaid features",
        "halfbyte-billing/tests/billing/plans.rs, halfbyte-billing/tests/billing/grants.rs, tests/platform/usage.rs",
    ),
    (
        "HB-USE-013",
        "what is decided while the store is away",
        "halfbyte-billing/tests/billing/fallback.rs, halfbyte-billing/tests/backends/away.rs",
    ),
    (
        "HB-USE-014",
        "limits over machines, and what a process held that has died",
        "halfbyte-billing/tests/billing/processes.rs, halfbyte-billing/tests/backends/processes.rs",
    ),
    ("HB-USE-015", "usage events that a product takes in", "halfbyte-billing/tests/billing/ingest.rs"),
    (
        "HB-LIFE-002",
        "signals of the system, and telemetry that no collector takes",
        "tests/platform/life.rs, halfbyte-observe/tests/observe/shutdown.rs, halfbyte-observe/tests/observe/outage.rs",
    ),
    ("HB-LIFE-003", "a second signal ends the process", "tests/platform/life.rs, src/drain.rs"),
    ("HB-LIFE-004", "exit codes 69 and 78", "tests/platform/start.rs"),
    (
        "HB-LIFE-005",
        "a configuration that cannot be used, with every fault at once",
        "halfbyte-core/tests/core/config.rs",
    ),
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

    use super::UNSEEN;

    #[test]
    fn what_is_not_seen_is_tested_in_files_that_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (clause, _, tested) in UNSEEN {
            for file in tested.split(", ") {
                assert!(root.join(file).is_file(), "{clause}: there is no {file}");
            }
        }
    }
}
