//! Broken products: for each check there is one that it finds, so that no check passes by checking nothing.
#![allow(clippy::disallowed_methods, reason = "what breaks a product goes past what it has")]

mod access;
mod admin;
mod http2;
mod invariants;
mod issuer;
mod keys;
mod leaks;
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
mod unusual;
mod usage;
mod versions;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::config::Config;

use halfbyte_observe::testing::{Received, Span};
use http::StatusCode;
use http::header::ACCEPT;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

use super::check::{self, Check};
use super::client::{Answer, Ask};
use super::report::{Report, Verdict};
use super::{Conformance, Sample, Started, unseen};
use crate::error::{Error, ErrorKind};
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
        let (listener, address) = listener();
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

/// Where something that stands before a product is reached.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    (TcpListener::from_std(listener).unwrap(), address)
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

/// How many mutants of one process run at once: they mostly wait.
const AT_ONCE: usize = 4;

/// Among how many processes they are shared out: telemetry is a whole process's, and whose mutants look at it take turns.
const PROCESSES: usize = 3;

/// Tells a process which part of the mutants is its own.
const PART: &str = "CONFORMANCE_MUTANTS_PART";

/// What such a process says before each check that found one.
const PROVEN: &str = "proven: ";

/// What it says before each line about one that was not found.
const MISSED: &str = "missed: ";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "it tells itself as what it was started")]
async fn each_mutant_is_found_by_a_check_of_its_clause_and_each_check_finds_one() {
    const NAME: &str = "conformance::mutants::each_mutant_is_found_by_a_check_of_its_clause_and_each_check_finds_one";
    if let Ok(part) = std::env::var(PART) {
        return find_part(part.parse().unwrap()).await;
    }
    let program = std::env::current_exe().unwrap();
    let find = |part: usize| {
        let mut program = Command::new(&program);
        program.args(["--exact", NAME, "--nocapture"]).env(PART, part.to_string()).output().unwrap()
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..PROCESSES).map(|part| scope.spawn(move || find(part))).collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect()
    });
    let said = parts.iter().map(|part| String::from_utf8_lossy(&part.stdout)).collect::<Vec<_>>().join("\n");
    let missed: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(MISSED)).collect();
    assert!(missed.is_empty(), "some mutants are not found:\n{}", missed.join("\n"));
    for part in &parts {
        assert!(part.status.success(), "{}", String::from_utf8_lossy(&part.stderr));
    }
    let proven: BTreeSet<_> = said.lines().filter_map(|line| line.strip_prefix(PROVEN)).collect();
    let unproven: Vec<_> =
        check::all().filter(|check| !proven.contains(check.what)).map(|check| (check.clause, check.what)).collect();
    unproven.iter().for_each(|(clause, what)| eprintln!("no mutant shows that this can fail: {clause} {what}"));
    assert!(unproven.is_empty(), "{} checks are not shown to fail", unproven.len());
}

/// Finds each mutant of this part, and says by which checks.
async fn find_part(part: usize) {
    let reports = stream::iter(mutants().skip(part).step_by(PROCESSES)).map(async |mutant| {
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
        let what = format!("{} is not found: {}\n{report}", mutant.clause, mutant.what);
        println!();
        what.lines().for_each(|line| println!("{MISSED}{line}"));
    }
    for what in reports.iter().flat_map(|(mutant, report)| of_clause(mutant, report)) {
        println!("\n{PROVEN}{what}");
    }
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

/// The sound product, without the sample of this route.
fn without_sample(route: &str) -> Conformance {
    let mut sound = sound::product();
    sound.samples.retain(|sample| sample.route != route);
    sound
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_route_without_a_sample_is_named_and_fails_the_run_unless_a_reason_is_given() {
    const ROUTE: &str = "DELETE /things/{id}";
    let checks = || check::all().filter(|check| check.clause == "HB-ACC-002" || check.clause == "HB-VER-001");
    let report = check::run(without_sample(ROUTE), checks()).await;
    assert_eq!(report.failed().count(), 0, "{report}");
    assert!(!report.is_passed());
    let [not_asked] = &report.not_asked[..] else { panic!("{report}") };
    let check = "HB-ACC-002 what is of another tenant is refused as what is not there, to the byte";
    assert_eq!((&*not_asked.of, &not_asked.checks[..]), (ROUTE, &[check.to_owned()][..]));
    assert!(report.to_string().ends_with(&format!("FAIL  {ROUTE}: {}", not_asked.why)), "{report}");
    assert!(report.to_junit().contains(&format!("name=\"{ROUTE}\" time=\"0.000\"><failure")));

    let report = check::run(without_sample(ROUTE).without_sample(ROUTE, "it is slow"), checks()).await;
    assert!(report.is_passed(), "{report}");
    assert_eq!((&*report.not_asked[0].why, &report.not_asked[0].checks[..]), ("it is slow", &[check.to_owned()][..]));

    // What is said of routes and secrets that the product does not have is a mistake.
    let mistaken = sound::product().sample(Sample::of("GET /thinks")).without_sample("GET /thing", "it has one");
    let report = check::run(mistaken.secret("wacks", "0123456789abcdef"), std::iter::empty()).await;
    let of: Vec<_> = report.overlooked().map(|not_asked| &*not_asked.of).collect();
    assert_eq!(of, ["GET /thinks", "GET /thing", "the secret wacks"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_could_not_be_looked_for_is_not_taken_and_one_that_is_not_rotated_is_named() {
    let report = check::run(sound::product().secret("wax", "a short one"), std::iter::empty()).await;
    let [outcome] = &report.outcomes[..] else { panic!("{report}") };
    assert!(matches!(&outcome.verdict, Verdict::Failed(how) if how.starts_with("the secret wax: ")), "{report}");
    let rotates = || check::all().filter(|check| check.clause == "HB-INV-004");
    let report = check::run(sound::product().secret("wax", "0123456789abcdef"), rotates()).await;
    assert!(report.is_passed(), "{report}");
    assert_eq!(&*report.not_asked[0].of, "the secret wax");
}

/// A secret that a product gives its own value.
const WAX: &str = "wax-5d0b3f7e8c2a49161f";

/// An error in which there is one.
fn telling() -> Error {
    Error::new(ErrorKind::Unavailable, format!("no seal of https://sound:{WAX}@wax.example/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_product_says_of_its_start_and_its_end_is_in_the_report_without_its_secrets() {
    let sound = || sound::product().secret("wax", WAX);
    let failing_from = |first: usize| {
        let (start, starts) = (sound().start, AtomicUsize::new(0));
        let start = move |config| -> Started {
            let is_bad = starts.fetch_add(1, Ordering::Relaxed) >= first;
            if is_bad { Box::pin(std::future::ready(Err(telling()))) } else { start(config) }
        };
        Conformance { start: Arc::new(start), ..sound() }
    };
    let ends = ending(sound(), |_| Err(telling()));
    for (what, product) in [
        ("the suite starts", failing_from(0)),
        ("the product starts", failing_from(1)),
        ("the product stops cleanly after all that", ends),
    ] {
        let report = check::run(product, std::iter::empty()).await;
        assert_eq!(report.outcomes[0].what, what, "{report}");
        let text = report.to_string();
        assert!(text.contains("no seal of https://sound:...@wax.example/") && !text.contains("5d0b3f7e"), "{text}");
    }
}

/// Checks of what a route does need a sample: without any, none of them may say that it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_could_ask_nothing_does_not_pass() {
    let bare = || Conformance { samples: Vec::new(), ..sound::product() };
    let needs = [
        "what is of another tenant is refused as what is not there, to the byte",
        "nobody does anything to what is of another tenant",
        "a suspended tenant may do no more than read, from at once until it is resumed",
        "who is past due, or has no account, is not suspended",
        "who has no tenant is billed as a tenant of its own",
        "whose plan lacks the feature is refused with not-entitled",
        "who is past due is refused with payment-required",
        "who has used up a quota is refused with quota-exhausted, and told how much there is and when again",
        "who is past due has to pay, who has paused has nothing, and both go on once that is over",
        "a change of a customer shows at once where it is made, and a little later in other processes",
        "a handler that takes longer than the deadline is answered with deadline-exceeded",
        "a stream that is tied to its caller breaks off when the credential is revoked",
    ];
    let report = check::run(bare(), check::all().filter(|check| needs.contains(&check.what))).await;
    let asked: Vec<_> = report.outcomes.iter().filter(|outcome| needs.contains(&outcome.what)).collect();
    assert_eq!(asked.len(), needs.len());
    let passed = asked.iter().filter(|outcome| outcome.verdict == Verdict::Passed).map(|outcome| outcome.what);
    assert_eq!(passed.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!report.is_passed());

    // Policies are asked for a thing by nobody who is not asked for a role first.
    let only_roles = |manifest: &mut Manifest| {
        manifest.routes.iter_mut().for_each(|route| route.asks.roles = vec!["keeper".to_owned()]);
    };
    let words = "a denial does not say what denies";
    let report = check::run(boasting(bare(), only_roles), check::all().filter(|check| check.what == words)).await;
    assert!(matches!(report.outcomes[0].verdict, Verdict::NotApplicable(_)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_does_not_end_fails_and_the_others_go_on() {
    let check = |what, run| Check { clause: "HB-REQ-001", what, run };
    let checks = [
        check("endless", |_| Box::pin(std::future::pending())),
        check("short", |_| Box::pin(std::future::ready(Ok(check::Holds::Yes)))),
    ];
    let limit = (Duration::ZERO, Duration::from_millis(1500));
    let report = check::run(Conformance { limit, ..sound::product() }, checks.iter()).await;
    let verdicts: Vec<_> = report.outcomes.iter().take(2).map(|outcome| &outcome.verdict).collect();
    let late = "it was not done after 1.5 s";
    assert_eq!(verdicts, [&Verdict::Failed(late.to_owned()), &Verdict::Passed]);
    assert!(report.to_junit().contains(&format!("<failure message=\"{late}\">")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_product_conforms_whose_bodies_secrets_and_paths_are_not_the_usual_ones() {
    let conformance = Conformance { keeps_all: true, ..unusual::product() };
    let keys: Vec<String> = conformance.secrets.iter().map(|(_, key)| key.expose_secret().to_owned()).collect();
    let report = conformance.run().await;
    eprintln!("{report}");
    report.assert();
    let quota = report.outcomes.iter().find(|outcome| outcome.what.starts_with("who has used up a quota"));
    assert_eq!(quota.map(|outcome| &outcome.verdict), Some(&Verdict::Passed), "also where much is left");
    // Nothing of what went over the wire may be looked up in the report, though it has each exchange.
    let text = report.to_json().to_string();
    assert!(
        report.outcomes.iter().map(|outcome| outcome.exchanges.len()).sum::<usize>() > 3000,
        "there is not much in it"
    );
    assert_eq!(shown_in(&text, &report), Vec::<String>::new());
    let lines = keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with('-'));
    assert!(
        lines.clone().count() > 4 && !lines.clone().any(|line| text.contains(line)),
        "a private key is in the report"
    );
    let not_asked: Vec<_> = report.not_asked.iter().map(|not_asked| (&*not_asked.of, &*not_asked.why)).collect();
    let expected = [
        ("POST /payouts", "a bank would have to be there"),
        ("GET /export", super::usage::IN_BODY),
        ("GET /feed", "its answers do not end, as its sample says: what they use is not known"),
        ("POST /imports", super::usage::KEYED),
        ("POST /opening", "a second call of it fails, as its sample says"),
    ];
    assert_eq!(not_asked, expected);
    assert!(report.not_asked.iter().all(|not_asked| !not_asked.checks.is_empty()), "something was not asked of each");
}

/// Credentials by their form, wherever they stand.
fn is_credential(word: &str) -> bool {
    let is_token = word.starts_with("eyJ") && word.split('.').nth(2).is_some_and(|signature| signature.len() > 20);
    is_token || (word.starts_with("hb_") && word.len() > 40)
}

/// All that `text` shows of what is secret, for each kind one.
fn shown_in(text: &str, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let words = || text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)));
    found.extend(words().find(|word| is_credential(word)).map(|word| format!("{word} of {}", report.product)));
    let secret =
        ["client_secret=", "subject_token=", "logout_token=", "&token=", "token=", "Bearer ", "DPoP ", "Basic "];
    for name in secret {
        let shown =
            text.split(name).skip(1).map(|rest| rest.split(['&', '\n', '"', ' ', '\\']).next().unwrap_or_default());
        // In challenges and texts these words stand for themselves.
        let is_one = |word: &&str| word.len() > 20 && !word.contains('=');
        found.extend(shown.filter(is_one).take(1).map(|value| format!("{name}{value}")));
    }
    found.extend(text.contains(unusual::PARTNERS_KEY).then(|| "a header that is sensitive".to_owned()));
    found.extend(text.contains("canary-").then(|| "a secret of the product".to_owned()));
    found
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
