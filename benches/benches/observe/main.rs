//! What `halfbyte-observe` costs a request, beside its peers.
//!
//! Every contestant stands in front of the same empty service, whose own time is taken off; spans end in a processor that
//! drops them. Those of peers are made by the SDK; ours by the tracer that `init` installs, which hands the same processor
//! the same whole spans. The budget, above the empty service:
//!
//! | a request | time | allocations |
//! |---|---|---|
//! | sampled | 0.3 of each peer's | 5 |
//! | its parent is not sampled | 0.15 of each peer's | 1 |
//! | metrics alone | 150 ns | 0 |
//!
//! And a million requests of 10,000 routes and 1,000 tenants, with the same tracer, keep memory within bounds, which is
//! printed.

mod flood;
mod peers;

use std::alloc::System;
use std::hint::black_box;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use halfbyte::core::PeerAddress;
use halfbyte_benches::{count, median, time_of};
use http::{Extensions, Request};
use peers::{Body, Contestant};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 501;
const BATCH: u32 = 40;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn main() {
    peers::prepare();
    let extensions = matched();
    for (what, traceparent) in [("sampled", SAMPLED), ("unsampled", UNSAMPLED)] {
        let contestants = [
            ("bare", peers::bare()),
            ("halfbyte-observe", peers::ours()),
            ("opentelemetry-instrumentation-tower", peers::instrumentation_tower()),
            ("tower-otel", peers::tower_otel()),
            ("axum-tracing-opentelemetry", peers::axum_tracing()),
        ];
        compare(what, contestants, || request(&extensions, Some(traceparent)));
    }
    let contestants = [("bare", peers::bare()), ("halfbyte-observe", peers::ours_metrics_only())];
    compare("metrics", contestants, || request(&extensions, None));
    flood::run();
}

/// Prints what each costs above the first one, and the second one's share of each other's.
fn compare<const N: usize>(what: &str, mut contestants: [(&str, Contestant); N], input: impl Fn() -> Request<Body>) {
    let mut times = vec![Vec::with_capacity(ROUNDS); N];
    for round in 0..ROUNDS + 5 {
        for (times, (_, contestant)) in times.iter_mut().zip(&mut contestants) {
            let time = time_of(BATCH, &input, &mut *contestant);
            // The first ones warm up.
            if round >= 5 {
                times.push(time);
            }
        }
    }
    let times: Vec<Duration> = times.into_iter().map(median).collect();
    let net = |index: usize| times[index].saturating_sub(times[0]);
    let bare = allocations(&mut contestants[0].1, &input);
    for (index, (name, contestant)) in contestants.iter_mut().enumerate().skip(1) {
        count(&format!("observe.{what}.{name}.nanoseconds"), net(index).as_nanos());
        let allocations = allocations(contestant, &input).saturating_sub(bare);
        count(&format!("observe.{what}.{name}.allocations"), allocations);
        if index > 1 {
            let ratio = net(1).as_secs_f64() / net(index).as_secs_f64();
            println!("RATIO observe.{what}.vs.{name} {ratio:.3}");
        }
    }
}

fn allocations(contestant: &mut Contestant, input: &impl Fn() -> Request<Body>) -> usize {
    let mut one = |_| {
        let request = input();
        let region = Region::new(ALLOCATOR);
        contestant(black_box(request));
        region.change().allocations
    };
    median((0..101).map(&mut one).collect())
}

fn request(extensions: &Extensions, traceparent: Option<&str>) -> Request<Body> {
    let mut request = Request::post("/labels/4711?page=2")
        .header("host", "parcel.example.com:8443")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
        .header("accept", "application/json")
        .header("content-type", "application/json");
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let mut request = request.body(Body::default()).expect("a request");
    *request.extensions_mut() = extensions.clone();
    request
}

/// What axum and the server put beside a request: the route, and who is at the other end.
fn matched() -> Extensions {
    let (to, from) = std::sync::mpsc::channel();
    let handler = async move |request: Request<axum::body::Body>| {
        let _received = to.send(request.extensions().clone());
    };
    let router = Router::new().route("/labels/{id}", post(handler));
    let mut request = Request::post("/labels/4711").body(axum::body::Body::empty()).expect("a request");
    request.extensions_mut().insert(PeerAddress(([192, 0, 2, 1], 4711).into()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(tower::ServiceExt::oneshot(router, request)).expect("infallible");
    from.recv().expect("the handler ran")
}
