//! Broken products: for each check there is one that it finds, so that no check passes by checking nothing.
#![allow(clippy::disallowed_methods, reason = "what breaks a product goes past what it has")]

mod access;
mod admin;
mod http2;
mod invariants;
mod issuer;
mod keys;
mod life;
mod proofs;
mod quota;
mod refusals;
mod requests;
mod sessions;
mod sound;
mod steps;
mod streams;
mod tamper;
mod telemetry;
mod tokens;
mod usage;
mod versions;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::config::Config;

use halfbyte_observe::testing::{Received, Span};
use http::StatusCode;
use http::header::ACCEPT;
use tokio::net::TcpListener;

use super::check::{self, Check};
use super::client::{Answer, Ask};
use super::report::{Report, Verdict};
use super::{Conformance, unseen};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::platform::Platform;

/// What is done to a product to break it.
#[derive(Clone, Default)]
pub(super) struct Mutation {
    /// To the service with all layers.
    outside: Option<Change>,
    /// To the routes inside the layers.
    inside: Option<Change>,
    /// To what it says of itself.
    manifest: Option<fn(&mut Manifest)>,
    /// To how it is reached: puts something in front of an address.
    front: Option<fn(SocketAddr) -> SocketAddr>,
    /// To the routes inside the layers, with what the platform has; or to the platform itself.
    with: Option<fn(&Platform, Router) -> Router>,
    /// To the admin listener.
    admin: Option<Change>,
    /// To what serving it comes to.
    ends: Option<fn(Ended) -> Ended>,
    /// To telemetry on its way to the collector.
    arrives: Option<fn(&mut Received)>,
}

/// What serving a product comes to.
type Ended = Result<(), Error>;

type Change = Arc<dyn Fn(Router) -> Router + Send + Sync>;

impl Mutation {
    pub fn outside(&self, service: Router) -> Router {
        self.outside.as_ref().map_or_else(|| service.clone(), |change| change(service.clone()))
    }

    pub fn inside(&self, routes: Router) -> Router {
        self.inside.as_ref().map_or_else(|| routes.clone(), |change| change(routes.clone()))
    }

    pub fn front(&self, address: SocketAddr) -> SocketAddr {
        self.front.map_or(address, |front| front(address))
    }

    pub fn manifest(&self, manifest: &mut Manifest) {
        self.manifest.iter().for_each(|change| change(manifest));
    }
}

impl Mutation {
    pub fn with(&self, platform: &Platform, routes: Router) -> Router {
        self.with.map_or_else(|| routes.clone(), |change| change(platform, routes.clone()))
    }

    /// Where operators ask, if their listener is at `address`.
    pub async fn admin(&self, address: SocketAddr) -> SocketAddr {
        let Some(change) = self.admin.clone() else { return address };
        let forward = async move |request: Request| {
            let mut ask = Ask::new(request.method().as_str(), request.uri().path());
            ask.headers.extend(request.headers().get(ACCEPT).map(|accepted| (ACCEPT, accepted.clone())));
            match ask.send(address).await {
                Ok(Answer { status, headers, body, .. }) => (status, headers, body).into_response(),
                Err(how) => (StatusCode::BAD_GATEWAY, how).into_response(),
            }
        };
        let service = change(Router::new().fallback(forward));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(tokio::spawn(async { axum::serve(listener, service).await }));
        address
    }

    pub fn ended(&self, ended: Ended) -> Ended {
        match self.ends {
            Some(change) => change(ended),
            None => ended,
        }
    }

    pub fn spans(&self, spans: Vec<Span>) -> Vec<Span> {
        let mut received = Received::default();
        received.spans = spans;
        self.arrived(received).spans
    }

    pub fn arrived(&self, mut received: Received) -> Received {
        if let Some(change) = self.arrives {
            change(&mut received);
        }
        received
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
fn outside(conformance: Conformance, change: impl Fn(Router) -> Router + Send + Sync + 'static) -> Conformance {
    Conformance { mutation: Mutation { outside: Some(Arc::new(change)), ..conformance.mutation }, ..conformance }
}

/// Broken inside the layers.
fn inside(conformance: Conformance, change: impl Fn(Router) -> Router + Send + Sync + 'static) -> Conformance {
    Conformance { mutation: Mutation { inside: Some(Arc::new(change)), ..conformance.mutation }, ..conformance }
}

/// Broken before the layers.
fn behind(conformance: Conformance, front: fn(SocketAddr) -> SocketAddr) -> Conformance {
    Conformance { mutation: Mutation { front: Some(front), ..conformance.mutation }, ..conformance }
}

/// Started with another configuration than the suite's.
fn configured(conformance: Conformance, change: fn(Config) -> Config) -> Conformance {
    let start = conformance.start.clone();
    Conformance { start: Arc::new(move |config| start(change(config))), ..conformance }
}

/// One that says of itself what is not so.
fn boasting(conformance: Conformance, change: fn(&mut Manifest)) -> Conformance {
    Conformance { mutation: Mutation { manifest: Some(change), ..conformance.mutation }, ..conformance }
}

/// Broken inside the layers, or in what the platform has been given.
fn with(conformance: Conformance, change: fn(&Platform, Router) -> Router) -> Conformance {
    Conformance { mutation: Mutation { with: Some(change), ..conformance.mutation }, ..conformance }
}

/// Broken for operators.
fn admin(conformance: Conformance, change: impl Fn(Router) -> Router + Send + Sync + 'static) -> Conformance {
    Conformance { mutation: Mutation { admin: Some(Arc::new(change)), ..conformance.mutation }, ..conformance }
}

/// One whose process says another thing of its end than what it was.
fn ending(conformance: Conformance, change: fn(Ended) -> Ended) -> Conformance {
    Conformance { mutation: Mutation { ends: Some(change), ..conformance.mutation }, ..conformance }
}

/// Broken between the product and the collector.
fn arrives(conformance: Conformance, change: fn(&mut Received)) -> Conformance {
    Conformance { mutation: Mutation { arrives: Some(change), ..conformance.mutation }, ..conformance }
}

fn mutants() -> impl Iterator<Item = &'static Mutant> {
    [
        versions::MUTANTS,
        requests::MUTANTS,
        http2::MUTANTS,
        refusals::MUTANTS,
        tokens::MUTANTS,
        keys::MUTANTS,
        proofs::MUTANTS,
        sessions::MUTANTS,
        access::MUTANTS,
        issuer::MUTANTS,
        usage::MUTANTS,
        quota::MUTANTS,
        streams::MUTANTS,
        life::MUTANTS,
        steps::MUTANTS,
        admin::MUTANTS,
        telemetry::MUTANTS,
        invariants::MUTANTS,
    ]
    .into_iter()
    .flatten()
}

/// How many mutants run at once: they mostly wait.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn each_mutant_is_found_by_a_check_of_its_clause_and_each_check_finds_one() {
    let reports = stream::iter(mutants()).map(async |mutant| {
        let of_clause = |check: &&Check| check.clause == mutant.clause;
        let broken = Conformance { is_broken: true, ..(mutant.make)(sound::product()) };
        (mutant, check::run(broken, check::all().filter(of_clause)).await)
    });
    let reports: Vec<_> = reports.buffer_unordered(AT_ONCE).collect().await;
    let of_clause = |mutant: &Mutant, report: &Report| -> Vec<_> {
        report.failed().filter(|outcome| outcome.clause == mutant.clause).map(|outcome| outcome.what).collect()
    };
    let missed: Vec<_> = reports.iter().filter(|(mutant, report)| of_clause(mutant, report).is_empty()).collect();
    for (mutant, report) in &missed {
        eprintln!("{} is not found: {}\n{report}", mutant.clause, mutant.what);
    }
    assert!(missed.is_empty(), "{} mutants are not found", missed.len());
    let proven: BTreeSet<_> = reports.iter().flat_map(|(mutant, report)| of_clause(mutant, report)).collect();
    let unproven: Vec<_> =
        check::all().filter(|check| !proven.contains(check.what)).map(|check| (check.clause, check.what)).collect();
    unproven.iter().for_each(|(clause, what)| eprintln!("no mutant shows that this can fail: {clause} {what}"));
    assert!(unproven.is_empty(), "{} checks are not shown to fail", unproven.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_product_conforms_and_everything_applies_to_it() {
    let report = sound::product().run().await;
    eprintln!("{report}");
    report.assert();
    let skipped = report.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NotApplicable(_)));
    eprintln!("{report}");
    assert_eq!(skipped.count(), 0, "not everything applies");
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
