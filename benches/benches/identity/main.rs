//! The authenticate layer: a token seen before, one not seen before, and what attacks cost; beside jwt-authorizer,
//! tower-oauth2-resource-server and jsonwebtoken in the same run, all with ES256.
//!
//! | what | printed as | target |
//! |---|---|---|
//! | a token seen before, the whole layer on an empty service | `identity.cached.nanoseconds` | at most 600 |
//! | | `identity.cached.allocations` | at most 2 |
//! | | `identity.cached.vs.PEER` | at most 0.02 |
//! | a token not seen before, less the bare verification by aws-lc-rs | `identity.cold.added_nanoseconds` | at most 1,500 |
//! | | `identity.cold.vs.PEER` | below 1 |
//! | 1,000 requests that wait for one unknown `kid` | `identity.unknown_kid.fetches` | 1 |
//! | 100,000 tokens with random `kid`s | `identity.flood.fetches` | at most `identity.flood.windows` |
//! | valid tokens during that | `identity.flood.valid.vs.before` | at most 1.5 |
//! | the same beside a neighbour that hashes and allocates | `identity.flood.valid.vs.busy_neighbour` | as a control: two cores share much |
//! | 100,000 cached principals | `identity.memory.megabytes` | stated, under 150 |
//!
//! Nothing goes over a socket but the keys, which are fetched from a real issuer before anything is timed. Requests are made
//! outside what is timed, and hold one extension, as the request-id layer leaves one; futures are polled by hand. The peers
//! get the same keys without having to ask for them, and check the same: signature, `iss`, `aud`, `exp`. jsonwebtoken is no
//! layer: what is timed is its verification alone, by a key that is already chosen.

mod issuer;
mod ours;
mod peers;

use std::alloc::System;
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use futures_util::future::{join_all, ready};
use futures_util::{StreamExt as _, stream};
use halfbyte::RequestId;
use halfbyte_benches::{Pair, count, median, ratio, side_by_side_of, time_of};
use http::{Request, StatusCode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

use self::issuer::Issuer;
use self::ours::Ours;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What `aud` must hold.
const AUDIENCE: &str = "https://parcel.example.com";
const ROUNDS: usize = 60;
const BATCH: u32 = 200;
const WAITING: usize = 1_000;
/// How many principals are held at once to see what they take.
const CACHED_TOKENS: usize = 100_000;
const FLOOD: usize = 100_000;
/// How many of the flood are under way at once: more than may wait for a key that nobody has.
const AT_ONCE: usize = 64;

/// Something that answers requests without waiting.
type Subject = Box<dyn FnMut(Request<()>) -> StatusCode>;
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    // Whatever runs in the background does so on a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let issuer = Issuer::start()?;
    cached(&runtime, &issuer)?;
    cold(&runtime, &issuer)?;
    unknown_kid(&runtime, &issuer)?;
    flood(&runtime, &issuer)?;
    memory(&runtime, &issuer)
}

fn request(token: &str) -> Request<()> {
    let mut request = bare_request(token);
    request.extensions_mut().insert(RequestId::random());
    request
}

fn bare_request(token: &str) -> Request<()> {
    let request = Request::get("https://parcel.example.com/labels").header("authorization", format!("Bearer {token}"));
    request.body(()).expect("a request")
}

/// Each lets a good token through and refuses a forged one: what is timed does its work.
fn require_strict(subject: &mut Subject, issuer: &Issuer) {
    let token = issuer.token();
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(subject(request(&token)), StatusCode::OK);
    assert_eq!(subject(request(&forged)), StatusCode::UNAUTHORIZED);
}

fn cached(runtime: &Runtime, issuer: &Issuer) -> Outcome {
    let ours = runtime.block_on(Ours::open(issuer))?;
    let (mut layer, mut empty) = (ours.subject(), ours::empty_subject());
    require_strict(&mut layer, issuer);
    let token = issuer.token();
    let prepare = || request(&token);

    let beside_nothing = side_by_side_of(ROUNDS, BATCH, (prepare, &mut layer), (prepare, &mut empty));
    count("identity.cached.nanoseconds", beside_nothing.ours.as_nanos());
    count("identity.cached.empty_service_nanoseconds", beside_nothing.theirs.as_nanos());
    count("identity.cached.allocations", allocations(prepare, &mut layer));
    count("identity.cached.allocations_without_extensions", allocations(|| bare_request(&token), &mut layer));
    for (name, mut peer) in runtime.block_on(peers::all(issuer))? {
        require_strict(&mut peer, issuer);
        let pair = side_by_side_of(ROUNDS, BATCH, (prepare, &mut layer), (prepare, &mut peer));
        ratio(&format!("identity.cached.vs.{name}"), pair);
    }
    Ok(())
}

fn cold(runtime: &Runtime, issuer: &Issuer) -> Outcome {
    let ours = runtime.block_on(Ours::open(issuer))?;
    let mut layer = ours.subject();
    // Every token is signed anew, and sent once.
    let prepare = || request(&issuer.token());
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, issuer.public_key())?;
    let verify = |(message, signature): (String, Vec<u8>)| key.verify_sig(message.as_bytes(), &signature).is_ok();

    let pair = side_by_side_of(ROUNDS, BATCH, (prepare, &mut layer), (|| issuer.signed_parts(), verify));
    count("identity.cold.nanoseconds", pair.ours.as_nanos());
    count("identity.cold.bare_nanoseconds", pair.theirs.as_nanos());
    count("identity.cold.added_nanoseconds", pair.ours.saturating_sub(pair.theirs).as_nanos());
    for (name, mut peer) in runtime.block_on(peers::all(issuer))? {
        let pair = side_by_side_of(ROUNDS, BATCH, (prepare, &mut layer), (prepare, &mut peer));
        ratio(&format!("identity.cold.vs.{name}"), pair);
    }
    Ok(())
}

fn unknown_kid(runtime: &Runtime, issuer: &Issuer) -> Outcome {
    let ours = runtime.block_on(Ours::open(issuer))?;
    // A fetch that tokens cause has a second between it and the one before.
    thread::sleep(Duration::from_millis(1_100));
    let key = issuer.rotate();
    // Long enough that all of them wait.
    issuer.slow(Duration::from_millis(100));
    let before = issuer.fetches();
    let requests: Vec<_> = (0..WAITING).map(|_| request(&issuer.token_of(&key))).collect();
    let statuses = runtime.block_on(join_all(requests.into_iter().map(|request| ours.answer(request))));
    issuer.slow(Duration::ZERO);
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "a request that waited is refused");
    count("identity.unknown_kid.requests", statuses.len());
    count("identity.unknown_kid.fetches", issuer.fetches() - before);
    Ok(())
}

fn flood(runtime: &Runtime, issuer: &Issuer) -> Outcome {
    let ours = runtime.block_on(Ours::open(issuer))?;
    let mut layer = ours.subject();
    let token = issuer.token();
    let prepare = || request(&token);
    let tokens: Vec<String> = (0..FLOOD).map(|_| issuer.token_of_nobody()).collect();
    let before: Vec<Duration> = (0..ROUNDS).map(|_| time_of(BATCH, prepare, &mut layer)).collect();

    // What a neighbour on the other core costs whatever it does.
    let done = AtomicBool::new(false);
    let beside_work = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                tokens.iter().take(1_000).for_each(|token| {
                    // It allocates as the flood does: the counting allocator makes both write to the same place.
                    let copies: Vec<String> = (0..8).map(|_| token.clone()).collect();
                    black_box((digest(&SHA256, token.as_bytes()), copies));
                });
            }
        });
        let times: Vec<Duration> = (0..ROUNDS).map(|_| time_of(BATCH, prepare, &mut layer)).collect();
        done.store(true, Ordering::Relaxed);
        times
    });

    let fetches = issuer.fetches();
    let (handle, flooded) = (runtime.handle().clone(), ours.clone());
    let flooding = thread::spawn(move || {
        let began = Instant::now();
        let answers = stream::iter(&tokens).map(|token| flooded.answer(request(token))).buffer_unordered(AT_ONCE);
        let let_through = handle.block_on(answers.filter(|status| ready(*status == StatusCode::OK)).count());
        (began.elapsed(), let_through)
    });
    let mut during = Vec::new();
    while !flooding.is_finished() {
        during.push(time_of(BATCH, prepare, &mut layer));
    }
    let (took, let_through) = flooding.join().map_err(|_| "the flood failed")?;
    assert_eq!(let_through, 0, "a token of nobody is let through");
    count("identity.flood.tokens", FLOOD);
    count("identity.flood.milliseconds", took.as_millis());
    count("identity.flood.fetches", issuer.fetches() - fetches);
    // The one that it begins in counts as well.
    count("identity.flood.windows", took.as_secs() + 1);
    let during = median(during);
    count("identity.flood.valid_nanoseconds", during.as_nanos());
    ratio("identity.flood.valid.vs.before", Pair { ours: during, theirs: median(before) });
    ratio("identity.flood.valid.vs.busy_neighbour", Pair { ours: during, theirs: median(beside_work) });
    Ok(())
}

fn memory(runtime: &Runtime, issuer: &Issuer) -> Outcome {
    let tokens: Vec<String> = (0..CACHED_TOKENS).map(|_| issuer.token()).collect();
    let region = Region::new(ALLOCATOR);
    let ours = runtime.block_on(Ours::remembering(issuer, CACHED_TOKENS))?;
    let mut layer = ours.subject();
    for token in &tokens {
        assert_eq!(layer(request(token)), StatusCode::OK);
    }
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    count("identity.memory.principals", tokens.len());
    count("identity.memory.token_bytes", tokens[0].len());
    count("identity.memory.bytes_each", held / tokens.len());
    count("identity.memory.megabytes", held / 1_000_000);
    Ok(())
}

/// The median of the allocations of one operation on what `prepare` makes; growth of what is there counts as one.
fn allocations<I, T>(mut prepare: impl FnMut() -> I, mut operation: impl FnMut(I) -> T) -> usize {
    let one = |_| {
        let input = prepare();
        let region = Region::new(ALLOCATOR);
        std::hint::black_box(operation(input));
        let change = region.change();
        change.allocations + change.reallocations
    };
    median((0..1_001).map(one).collect())
}
