//! Broken products: for each check there is one that it finds, so that no check passes by checking nothing.

mod refusals;
mod requests;
mod sound;

use std::collections::BTreeSet;

use axum::Router;

use super::check::{self, Check};
use super::report::Verdict;
use super::{Conformance, unseen};

/// What is done to a product to break it.
#[derive(Clone, Copy, Default)]
pub(super) struct Mutation {
    /// To the service with all layers.
    outside: Option<fn(Router) -> Router>,
    /// To the routes inside the layers.
    inside: Option<fn(Router) -> Router>,
}

impl Mutation {
    pub fn outside(&self, service: Router) -> Router {
        self.outside.map_or_else(|| service.clone(), |change| change(service.clone()))
    }

    pub fn inside(&self, routes: Router) -> Router {
        self.inside.map_or_else(|| routes.clone(), |change| change(routes.clone()))
    }
}

/// A broken product.
struct Mutant {
    /// What is broken, for people.
    what: &'static str,
    /// The clause whose checks must find it.
    clause: &'static str,
    make: fn(Conformance) -> Conformance,
}

/// Broken on the way between the layers and the client.
fn outside(conformance: Conformance, change: fn(Router) -> Router) -> Conformance {
    Conformance { mutation: Mutation { outside: Some(change), ..conformance.mutation }, ..conformance }
}

/// Broken inside the layers.
#[expect(dead_code, reason = "for mutants that are to come")]
fn inside(conformance: Conformance, change: fn(Router) -> Router) -> Conformance {
    Conformance { mutation: Mutation { inside: Some(change), ..conformance.mutation }, ..conformance }
}

fn mutants() -> impl Iterator<Item = &'static Mutant> {
    [requests::MUTANTS, refusals::MUTANTS].into_iter().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutant_is_found_by_a_check_of_its_clause() {
    for mutant in mutants() {
        let of_clause = |check: &&Check| check.clause == mutant.clause;
        let report = check::run((mutant.make)(sound::product()), check::all().filter(of_clause)).await;
        let found = report.failed().any(|outcome| outcome.clause == mutant.clause);
        assert!(found, "{} is not found: {}\n{report}", mutant.clause, mutant.what);
    }
}

#[test]
fn each_check_has_a_mutant() {
    let broken: BTreeSet<_> = mutants().map(|mutant| mutant.clause).collect();
    let unproven: Vec<_> = check::all().map(|check| check.clause).filter(|clause| !broken.contains(clause)).collect();
    assert!(unproven.is_empty(), "no mutant shows that these can fail: {unproven:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_product_conforms_and_everything_applies_to_it() {
    let report = sound::product().run().await;
    report.assert();
    let skipped = report.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NotApplicable(_)));
    assert_eq!(skipped.count(), 0, "{report}");
}

/// Each clause of the contract is checked, or is said not to be seen from outside.
#[test]
fn no_clause_is_forgotten() {
    let contract = include_str!("../../../CONTRACT.md");
    let clauses =
        contract.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**").map(|(clause, _)| clause));
    let known: BTreeSet<_> = check::all().map(|check| check.clause).chain(unseen::clauses()).collect();
    let forgotten: Vec<_> = clauses.filter(|clause| !known.contains(clause)).collect();
    assert!(forgotten.is_empty(), "neither checked nor said to be unseen: {forgotten:?}");
}
