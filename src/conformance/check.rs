//! The checks, and how they are run.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::product::Suite;
use super::report::{Outcome, Report, Verdict};
use super::{
    Conformance, access, admin, collector, http2, invariants, issuer, keys, life, proofs, quota, refusals, requests,
    sessions, steps, streams, telemetry, tokens, unseen, usage, versions,
};

/// One check of one clause.
pub(super) struct Check {
    pub clause: &'static str,
    pub what: &'static str,
    pub run: for<'b> fn(&'b mut Bench<'_>) -> Running<'b>,
}

impl Check {
    /// Whether it may look at what has arrived at the collector, which all products of the process share.
    fn looks_at_telemetry(&self) -> bool {
        ["HB-USE", "HB-LIFE", "HB-TEL", "HB-INV"].iter().any(|section| self.clause.starts_with(section))
    }
}

pub(super) type Running<'b> = Pin<Box<dyn Future<Output = Found> + Send + 'b>>;

/// How a check ended: by `?` if what it saw is not what the clause says.
pub(super) type Found = Result<Holds, String>;

/// A check did not fail.
pub(super) enum Holds {
    Yes,
    /// There is nothing in this product that it is about.
    NotHere(&'static str),
}

/// Fails a check, with how, unless `holds`.
pub(super) fn ensure(holds: bool, how: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(how()) }
}

/// All checks, in the order of the clauses.
pub(super) fn all() -> impl Iterator<Item = &'static Check> {
    [
        versions::CHECKS,
        requests::CHECKS,
        http2::CHECKS,
        refusals::CHECKS,
        tokens::CHECKS,
        keys::CHECKS,
        proofs::CHECKS,
        sessions::CHECKS,
        access::CHECKS,
        issuer::CHECKS,
        usage::CHECKS,
        quota::CHECKS,
        streams::CHECKS,
        life::CHECKS,
        steps::CHECKS,
        admin::CHECKS,
        telemetry::CHECKS,
        // At the end, since they are about all that was done before.
        invariants::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Runs `checks` one after the other.
pub(super) async fn run(conformance: Conformance, checks: impl Iterator<Item = &'static Check>) -> Report {
    let checks: Vec<_> = checks.collect();
    let (_alone, _beside_others) = if checks.iter().any(|check| check.looks_at_telemetry()) {
        (Some(collector::RUNNING.write().await), None)
    } else {
        (None, Some(collector::RUNNING.read().await))
    };
    let mut report = Report { product: "the product".to_owned(), contract: String::new(), outcomes: Vec::new() };
    let mut failed = |what, how| {
        let verdict = Verdict::Failed(how);
        report.outcomes.push(Outcome {
            clause: "HB-LIFE-007",
            what,
            verdict,
            took: Duration::ZERO,
            exchanges: Vec::new(),
        });
    };
    let suite = match Suite::new(conformance).await {
        Ok(suite) => suite,
        Err(how) => {
            failed("the suite starts", how);
            return report;
        }
    };
    let product = match suite.start(&[]).await {
        Ok(product) => product,
        Err(how) => {
            failed("the product starts", how);
            return report;
        }
    };
    report.product = product.platform.product().to_string();
    report.contract = product.platform.contract().as_str().to_owned();
    for check in checks {
        let mut bench = Bench::new(&suite, &product);
        let began = Instant::now();
        let verdict = match (check.run)(&mut bench).await {
            Ok(Holds::Yes) => Verdict::Passed,
            Ok(Holds::NotHere(why)) => Verdict::NotApplicable(why.to_owned()),
            Err(how) => Verdict::Failed(how),
        };
        let exchanges = bench.exchanges();
        #[cfg(test)]
        let is_enough = suite.conformance.is_broken && matches!(verdict, Verdict::Failed(_));
        let took = began.elapsed();
        report.outcomes.push(Outcome { clause: check.clause, what: check.what, verdict, took, exchanges });
        #[cfg(test)]
        if is_enough {
            break;
        }
    }
    if let Err(how) = product.stop().await {
        let verdict = Verdict::Failed(how);
        let what = "the product stops cleanly after all that";
        report.outcomes.push(Outcome {
            clause: "HB-LIFE-004",
            what,
            verdict,
            took: Duration::ZERO,
            exchanges: Vec::new(),
        });
    }
    report.outcomes.extend(unseen::outcomes());
    report
}
