//! How many requests are let in at once, beside services of which it is known what they can do.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use halfbyte::identity::layers::AnsweredByLayer;
use halfbyte::layers::LoadShedLayer;
use halfbyte::{Problem, problem};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::start;

type Body = Full<Bytes>;

const PAUSE: Duration = Duration::from_secs(1);

fn adaptive() -> LoadShedLayer {
    LoadShedLayer::adaptive(16, 1024, PAUSE)
}

/// A service that does some things at once, each in its time; the rest waits in line.
#[derive(Clone)]
struct Service {
    places: Arc<Semaphore>,
    takes: Duration,
}

impl Service {
    fn new(at_once: usize, takes: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), takes }
    }

    async fn work(&self) {
        let _place = self.places.acquire().await.unwrap();
        // Not all alike.
        sleep(self.takes.mul_f64(0.5 + random())).await;
    }
}

/// From 0 to 1, the same in every run.
fn random() -> f64 {
    static STATE: AtomicU64 = AtomicU64::new(1);
    let next = |state: u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    let state = STATE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
    f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
}

#[derive(Default)]
struct Seen {
    done: AtomicU64,
    refused: AtomicU64,
    nanos: AtomicU64,
}

impl Seen {
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed) / self.done().max(1))
    }

    fn refused_share(&self) -> f64 {
        let (done, refused) = (self.done() as f64, self.refused.load(Ordering::Relaxed) as f64);
        refused / (done + refused).max(1.0)
    }
}

/// One request whose handler does `work` and answers what comes of it.
async fn request(layer: &LoadShedLayer, work: impl Future<Output = StatusCode>) -> StatusCode {
    let mut work = Some(work);
    let service = service_fn(move |_: Request<Body>| {
        let work = work.take().unwrap();
        async move {
            let mut response = Response::new(Body::default());
            *response.status_mut() = work.await;
            Ok::<_, Infallible>(response)
        }
    });
    layer.layer(service).oneshot(Request::new(Body::default())).await.unwrap().status()
}

/// `rate` requests a second for `lasts`; what became of those of the last half.
async fn offer(layer: &LoadShedLayer, service: &Service, rate: f64, lasts: Duration) -> Seen {
    let (begun, seen, mut under_way) = (Instant::now(), Arc::new(Seen::default()), JoinSet::new());
    let every = Duration::from_secs_f64(1.0 / rate);
    let mut at = Duration::ZERO;
    while at < lasts {
        tokio::time::sleep_until(begun + at).await;
        let (layer, service, seen, counts) = (layer.clone(), service.clone(), seen.clone(), at > lasts / 2);
        under_way.spawn(async move {
            let began = Instant::now();
            let status = request(&layer, service.work().map(|()| StatusCode::OK)).await;
            if !counts {
            } else if status == StatusCode::OK {
                seen.done.fetch_add(1, Ordering::Relaxed);
                seen.nanos.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
            } else {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                seen.refused.fetch_add(1, Ordering::Relaxed);
            }
        });
        while under_way.try_join_next().is_some() {}
        at += every;
    }
    while under_way.join_next().await.is_some() {}
    Arc::into_inner(seen).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_service_does_what_it_can_and_nobody_waits_long_which_a_fixed_limit_does_not_achieve() {
    const TAKES: Duration = Duration::from_millis(50);
    for at_once in [20, 40] {
        let service = Service::new(at_once, TAKES);
        let capacity = at_once as f64 / TAKES.as_secs_f64();
        let lasts = Duration::from_secs(60);
        let seen = offer(&adaptive(), &service, 2.0 * capacity, lasts).await;
        let achieved = seen.done() as f64 / (lasts.as_secs_f64() / 2.0) / capacity;
        assert!(achieved > 0.9, "{at_once}: {achieved} of what it can, in {:?} each", seen.mean());
        assert!(seen.mean() < 2 * TAKES, "{at_once}: {:?}", seen.mean());

        // The same without adapting.
        let seen = offer(&LoadShedLayer::new(1024, PAUSE), &service, 2.0 * capacity, lasts).await;
        assert!(seen.mean() > 5 * TAKES, "{at_once}: {:?}", seen.mean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_overloaded_refuses_nobody_however_slow_it_is() {
    for (takes, rate) in [(2.0, 400.0), (0.001, 2_000.0), (10.0, 90.0)] {
        let service = Service::new(100_000, Duration::from_secs_f64(takes));
        let layer = adaptive();
        let seen = offer(&layer, &service, rate, Duration::from_secs(60)).await;
        assert!(seen.refused_share() < 0.001, "{takes} s: {}", seen.refused_share());
        assert!(layer.limit() > 700, "{takes} s: {}", layer.limit());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_by_nature_keeps_its_places_also_when_all_of_them_are_taken() {
    let (layer, service) = (adaptive(), Service::new(100_000, Duration::from_secs(2)));
    // A thousand and a half at once, where there are 1024 places.
    let seen = offer(&layer, &service, 750.0, Duration::from_secs(120)).await;
    let best = 1024.0 / 2.0 * 60.0;
    assert!(seen.done() as f64 > 0.9 * best, "{} of {best}, now {}", seen.done(), layer.limit());
}

#[tokio::test(start_paused = true)]
async fn it_recovers_when_what_was_overloaded_can_do_more() {
    let layer = adaptive();
    let service = Service::new(20, Duration::from_millis(50));
    offer(&layer, &service, 800.0, Duration::from_secs(30)).await;
    let low = layer.limit();
    assert!(low < 60, "{low}");
    // What it waited for is back.
    service.places.add_permits(480);
    let seen = offer(&layer, &service, 8_000.0, Duration::from_secs(20)).await;
    assert!(seen.refused_share() < 0.1, "{} refused, limit {}", seen.refused_share(), layer.limit());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_further_in_or_fails_quickly_takes_no_place_from_others() {
    for answer in [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
        let layer = adaptive();
        let service = Service::new(100_000, Duration::from_millis(500));
        let flood = async {
            loop {
                let bad = async {
                    sleep(Duration::from_micros(50)).await;
                    answer
                };
                request(&layer, bad).await;
                sleep(Duration::from_micros(500)).await;
            }
        };
        // So many that the limit is used up, and what is measured matters.
        let seen = tokio::select! {
            seen = offer(&layer, &service, 2_200.0, Duration::from_secs(30)) => seen,
            () = flood => unreachable!(),
        };
        let best = 1024.0 / 0.5 * 15.0;
        assert!(seen.done() as f64 > 0.85 * best, "{answer}: {} of {best}, limit {}", seen.done(), layer.limit());
    }
}

/// The limit after a while of requests that are answered in `answer`, each after as many milliseconds as the limit is: as where they wait
/// for each other, or as by somebody who wants it to look so.
async fn limit_after(answer: impl Fn() -> Response<Body> + Copy) -> usize {
    let layer = LoadShedLayer::adaptive(4, 64, PAUSE);
    let handler = layer.clone();
    let service = service_fn(move |_: Request<Body>| {
        let takes = Duration::from_millis(handler.limit() as u64);
        async move {
            sleep(takes).await;
            Ok::<_, Infallible>(answer())
        }
    });
    let client = async || {
        loop {
            let service = layer.layer(service.clone());
            let _response = service.oneshot(Request::new(Body::default())).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    let clients = futures_util::future::join_all((0..100).map(|_| client()));
    let _still_there = tokio::time::timeout(Duration::from_secs(8), clients).await;
    layer.limit()
}

#[tokio::test(start_paused = true)]
async fn only_work_that_was_done_or_had_no_time_left_moves_the_limit() {
    let status = |status: StatusCode| {
        let mut response = Response::new(Body::default());
        *response.status_mut() = status;
        response
    };
    fn refused(problem: Problem) -> Response<Body> {
        problem.to_response::<Body>(&problem::Context::default()).map(|_| Body::default())
    }
    let grpc = || {
        let context = problem::Context { grpc: true, ..problem::Context::default() };
        Problem::unauthenticated().to_response::<Body>(&context).map(|_| Body::default())
    };
    assert_eq!(grpc().status(), StatusCode::OK);
    assert_eq!(limit_after(|| status(StatusCode::UNAUTHORIZED)).await, 64);
    assert_eq!(limit_after(|| status(StatusCode::NOT_FOUND)).await, 64);
    assert_eq!(limit_after(|| status(StatusCode::INTERNAL_SERVER_ERROR)).await, 64);
    assert_eq!(limit_after(|| refused(Problem::invalid_token("bad"))).await, 64);
    assert_eq!(limit_after(grpc).await, 64);

    let by_a_layer = || {
        let mut response = status(StatusCode::OK);
        response.extensions_mut().insert(AnsweredByLayer);
        response
    };
    assert_eq!(limit_after(by_a_layer).await, 64);

    assert!(limit_after(|| status(StatusCode::OK)).await < 16);
    assert!(limit_after(|| status(StatusCode::FOUND)).await < 16);
    assert!(limit_after(|| refused(Problem::deadline_exceeded())).await < 16);
}

#[tokio::test]
async fn what_the_platform_answers_by_itself_is_told_from_what_handlers_do() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start(folder.path(), "[products.parcel]").await.unwrap();
    let routes = axum::Router::new().route("/", axum::routing::get("hello"));
    for (path, by_a_layer) in [("/", false), ("/.well-known/oauth-protected-resource", true), ("/oauth/jwks", true)] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = platform.stack().layer(routes.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.extensions().get::<AnsweredByLayer>().is_some(), by_a_layer, "{path}");
    }
}

#[test]
fn a_request_that_is_let_in_costs_no_allocation() {
    let (layer, request) = (adaptive(), || Request::new(Body::default()));
    let hello = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::default())));
    let bare = allocation_counter::measure(|| _ = hello.oneshot(request()).now_or_never().unwrap());
    let limited = allocation_counter::measure(|| _ = layer.layer(hello).oneshot(request()).now_or_never().unwrap());
    assert_eq!(limited.count_total, bare.count_total);
    assert_eq!((layer.handling(), layer.streaming()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_is_no_measure() {
    let layer = adaptive();
    let service = Service::new(100_000, Duration::from_secs(1));
    let hang_up = async {
        loop {
            let given_up = request(&layer, service.work().map(|()| StatusCode::OK));
            let _gone = tokio::time::timeout(Duration::from_millis(1), given_up).await;
            sleep(Duration::from_micros(100)).await;
        }
    };
    let seen = tokio::select! {
        seen = offer(&layer, &service, 1_100.0, Duration::from_secs(60)) => seen,
        () = hang_up => unreachable!(),
    };
    let best = 1024.0 * 30.0;
    assert!(seen.done() as f64 > 0.9 * best, "{} of {best}, limit {}", seen.done(), layer.limit());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_costs_a_question_and_no_more() {
    let (layer, service) = (adaptive(), Service::new(100_000, Duration::from_millis(500)));
    let jump = async {
        for _ in 0..3 {
            sleep(Duration::from_secs(10)).await;
            tokio::time::advance(Duration::from_secs(86_400)).await;
        }
        std::future::pending::<()>().await;
    };
    let lasts = Duration::from_secs(3 * 86_400 + 240);
    let (begun, mut under_way) = (Instant::now(), JoinSet::new());
    let offers = async {
        while begun.elapsed() < lasts {
            for _ in 0..50 {
                let (layer, service) = (layer.clone(), service.clone());
                under_way.spawn(async move { request(&layer, service.work().map(|()| StatusCode::OK)).await });
            }
            sleep(Duration::from_millis(20)).await;
            while under_way.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = offers => {}
        () = jump => unreachable!(),
    }
    assert!(layer.limit() > 600, "{}", layer.limit());
}

#[tokio::test]
async fn no_place_is_lost_however_requests_end() {
    let layer = LoadShedLayer::adaptive(8, 64, PAUSE);
    let mut random = 7_u64;
    for round in 0..300 {
        let mut held = Vec::new();
        for _ in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let end = random >> 61;
            let service = service_fn(move |_: Request<Body>| async move {
                if end == 0 {
                    panic!("on purpose");
                }
                tokio::task::yield_now().await;
                if end == 1 {
                    return Err("on purpose");
                }
                let frame = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"0123456789")));
                let stream = futures_util::stream::iter((0..3).map(frame));
                let body = if end < 5 { StreamBody::new(stream).boxed() } else { Full::from("short").boxed() };
                Ok(Response::new(body))
            });
            let future = std::panic::AssertUnwindSafe(layer.layer(service).oneshot(Request::new(Body::default())));
            if end == 2 {
                // Given up after the first look.
                let _given_up = future.now_or_never();
                continue;
            }
            let Ok(Ok(response)) = future.catch_unwind().await else { continue };
            let mut body = response.into_body();
            match end {
                3 => drop(body),
                4 => held.push(body),
                5 => _ = body.frame().await,
                _ => _ = body.collect().await.unwrap(),
            }
        }
        assert_eq!((layer.handling(), layer.streaming()), (0, held.len() as u64), "round {round}");
        drop(held);
        assert_eq!((layer.handling(), layer.streaming()), (0, 0), "round {round}");
    }
}

#[tokio::test]
async fn streams_are_bounded_by_the_ceiling_alone_and_leave_the_floor_to_others() {
    let layer = LoadShedLayer::adaptive(2, 10, PAUSE);
    let stream = service_fn(async |_: Request<Body>| {
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    let call = || layer.layer(stream).oneshot(Request::new(Body::default()));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(call().await.unwrap());
    }
    assert!(held.iter().all(|response| response.status() == StatusCode::OK));
    assert_eq!((layer.handling(), layer.streaming()), (0, 10));
    assert_eq!(call().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    held.pop();
    assert_eq!(call().await.unwrap().status(), StatusCode::OK);
}
