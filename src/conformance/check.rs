//! The checks, and how they are run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::bench::{Bench, LeftOut, name_of};
use super::product::{Product, Suite};
use super::report::{NotAsked, Outcome, Report, Verdict};
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
    /// As a report names it.
    fn name(&self) -> String {
        format!("{} {}", self.clause, self.what)
    }

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

/// Why a check of what routes do does not apply.
pub(super) const NO_ROUTE: &str = "the product has no route that could be asked";

impl Holds {
    /// Yes, if anything was `asked`; where nothing was, nothing is known.
    pub fn if_any(asked: usize, else_why: &'static str) -> Self {
        if asked > 0 { Self::Yes } else { Self::NotHere(else_why) }
    }
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
pub(super) async fn run<'c>(conformance: Conformance, checks: impl Iterator<Item = &'c Check>) -> Report {
    let checks: Vec<_> = checks.collect();
    let (_alone, _beside_others) = if checks.iter().any(|check| check.looks_at_telemetry()) {
        (Some(collector::RUNNING.write().await), None)
    } else {
        (None, Some(collector::RUNNING.read().await))
    };
    let mut report = Report {
        product: "the product".to_owned(),
        contract: String::new(),
        outcomes: Vec::new(),
        not_asked: Vec::new(),
    };
    let failed = |clause, what, how| {
        let verdict = Verdict::Failed(how);
        Outcome { clause, what, verdict, took: Duration::ZERO, exchanges: Vec::new() }
    };
    let suite = match Suite::new(conformance).await {
        Ok(suite) => suite,
        Err(how) => {
            report.outcomes.push(failed("HB-LIFE-007", "the suite starts", how));
            return report;
        }
    };
    let product = match suite.start(&[]).await {
        Ok(product) => product,
        Err(how) => {
            report.outcomes.push(failed("HB-LIFE-007", "the product starts", suite.redaction.shown(&how)));
            return report;
        }
    };
    report.product = product.platform.product().to_string();
    report.contract = product.platform.contract().as_str().to_owned();
    let mut not_asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left_out: BTreeMap<LeftOut, Vec<String>> = BTreeMap::new();
    for check in checks {
        let (outcome, routes, out) = outcome(check, &suite, &product).await;
        out.into_iter().for_each(|route| left_out.entry(route).or_default().push(check.name()));
        routes.into_iter().for_each(|route| not_asked.entry(route).or_default().push(check.name()));
        #[cfg(test)]
        let is_enough = suite.conformance.is_broken && matches!(outcome.verdict, Verdict::Failed(_));
        report.outcomes.push(outcome);
        #[cfg(test)]
        if is_enough {
            break;
        }
    }
    report.not_asked = gaps(&suite, &product, not_asked);
    // Its sample says so.
    let left_out =
        left_out.into_iter().map(|((of, why), checks)| NotAsked { of, why: why.to_owned(), is_in_order: true, checks });
    report.not_asked.extend(left_out);
    if let Err(how) = product.stop().await {
        let how = suite.redaction.shown(&how);
        report.outcomes.push(failed("HB-LIFE-004", "the product stops cleanly after all that", how));
    }
    report.outcomes.extend(unseen::outcomes());
    report
}

/// What comes of `check`, the routes that it was to ask and could not, and those that it left out.
async fn outcome(check: &Check, suite: &Suite, product: &Product) -> (Outcome, BTreeSet<String>, BTreeSet<LeftOut>) {
    let mut bench = Bench::new(suite, product);
    let began = Instant::now();
    let limit = suite.conformance.limit.1 + suite.conformance.limit.0 * routes_of(product);
    let verdict = match timeout(limit, (check.run)(&mut bench)).await {
        Ok(Ok(Holds::Yes)) => Verdict::Passed,
        Ok(Ok(Holds::NotHere(why))) => Verdict::NotApplicable(why.to_owned()),
        Ok(Err(how)) => Verdict::Failed(suite.redaction.shown(&how)),
        Err(_) => Verdict::Failed(format!("it was not done after {} s", limit.as_secs_f64())),
    };
    let (exchanges, not_asked, left_out) = bench.done();
    let took = began.elapsed();
    (Outcome { clause: check.clause, what: check.what, verdict, took, exchanges }, not_asked, left_out)
}

fn routes_of(product: &Product) -> u32 {
    u32::try_from(product.platform.manifest().routes.len()).unwrap_or(u32::MAX)
}

/// All that no check could ask, with what the product says to that; `not_asked` has the checks by route.
fn gaps(suite: &Suite, product: &Product, mut not_asked: BTreeMap<String, Vec<String>>) -> Vec<NotAsked> {
    let Conformance { samples, without_sample, secrets, .. } = &suite.conformance;
    let routes = product.platform.manifest().routes;
    let has_sample = |route: &str| samples.iter().any(|sample| sample.route == route);
    let is_route = |name: &str| routes.iter().any(|route| name_of(route) == name);
    let gap = |of: &str, why: &str, is_in_order, checks| NotAsked {
        of: of.to_owned(),
        why: why.to_owned(),
        is_in_order,
        checks,
    };
    let mut gaps = Vec::new();
    for route in routes.iter().filter(|route| !route.asks.is_public).map(name_of).filter(|route| !has_sample(route)) {
        let checks = not_asked.remove(&route).unwrap_or_default();
        gaps.push(match without_sample.iter().find(|(of, _)| *of == route) {
            Some((_, reason)) => gap(&route, reason, !reason.trim().is_empty(), checks),
            None => gap(&route, "it is guarded and has no sample: give it one, or say why it has none", false, checks),
        });
    }
    let sampled = samples.iter().flat_map(|sample| {
        [Some(&sample.route), sample.made_by.as_ref().map(|(route, _)| route)].into_iter().flatten()
    });
    let named: BTreeSet<_> = sampled.chain(without_sample.iter().map(|(route, _)| route)).collect();
    for route in named.into_iter().filter(|route| !is_route(route)) {
        gaps.push(gap(route, "it was named, and is no route of the product", false, Vec::new()));
    }
    for (route, _) in without_sample.iter().filter(|(route, _)| has_sample(route)) {
        gaps.push(gap(route, "it is said to have no sample, and has one", false, Vec::new()));
    }
    for name in suite.worn_out() {
        let why = "it was given a single value, and was not rotated";
        gaps.push(gap(&format!("the secret {name}"), why, true, Vec::new()));
    }
    let unread: BTreeSet<_> =
        secrets.iter().map(|(name, _)| name).filter(|name| !suite.secrets.contains(name)).collect();
    for name in unread {
        gaps.push(gap(
            &format!("the secret {name}"),
            "it was given a value, and the product has no such secret",
            false,
            Vec::new(),
        ));
    }
    gaps
}
