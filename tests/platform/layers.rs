//! The layers that belong to no one system.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use halfbyte::core::lifecycle::Phase;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::layers::{CatchPanicLayer, DeadlineLayer, DrainGateLayer, LoadShedLayer};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use serde_json::Value;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

type Body = Full<Bytes>;

fn request() -> Request<Body> {
    Request::new(Body::default())
}

async fn hello(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

async fn problem<B>(response: Response<B>) -> Value
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_panic_in_a_handler_is_answered_with_internal_and_says_nothing_of_itself() {
    let panics = service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> {
        panic!("the password is hunter2")
    });
    let response = CatchPanicLayer.layer(panics).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let problem = problem(response).await;
    assert_eq!(problem["type"], "urn:halfbyte:problem:internal");
    assert!(!problem.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_panic_in_the_call_itself_is_answered_too() {
    let panics = service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> { panic!() });
    let response = CatchPanicLayer.layer(panics).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn requests_pass_until_the_process_drains_and_are_refused_from_then_on() {
    let life = Lifecycle::new(Clock::system());
    let mut service = DrainGateLayer::new(life.clone()).layer(service_fn(hello));
    for phase in [Phase::Ready, Phase::LameDuck] {
        life.enter(phase);
        assert_eq!(service.ready().await.unwrap().call(request()).await.unwrap().status(), StatusCode::OK, "{phase:?}");
    }
    life.enter(Phase::Draining);
    let response = service.ready().await.unwrap().call(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await["type"], "urn:halfbyte:problem:draining");
}

/// A body whose end is not known before it comes.
async fn stream(
    _request: Request<Body>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let frames = [Ok(Frame::data(Bytes::from("hello")))];
    Ok(Response::new(StreamBody::new(futures_util::stream::iter(frames))))
}

#[tokio::test]
async fn one_request_too_many_is_refused_until_a_streamed_body_has_been_sent_or_dropped() {
    let layer = LoadShedLayer::new(1, Duration::from_secs(7));
    let call = || layer.layer(service_fn(stream)).oneshot(request());

    let first = call().await.unwrap();
    let second = call().await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "7");
    assert_eq!(problem(second).await["type"], "urn:halfbyte:problem:overloaded");

    assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "hello");
    let third = call().await.unwrap();
    assert_eq!(third.status(), StatusCode::OK, "the first was sent");
    drop(third);
    assert_eq!(call().await.unwrap().status(), StatusCode::OK, "the third was dropped");
}

#[tokio::test]
async fn a_client_that_does_not_read_what_is_ready_keeps_nobody_out() {
    let layer = LoadShedLayer::new(1, Duration::from_secs(1));
    let unread = layer.layer(service_fn(hello)).oneshot(request()).await.unwrap();
    assert_eq!(layer.layer(service_fn(hello)).oneshot(request()).await.unwrap().status(), StatusCode::OK);
    drop(unread);
}

#[tokio::test]
async fn a_request_that_is_given_up_makes_room_for_another() {
    let layer = LoadShedLayer::new(1, Duration::from_secs(1));
    let never = service_fn(async |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let given_up = layer.layer(never).oneshot(request());
    assert!(tokio::time::timeout(Duration::from_millis(1), given_up).await.is_err());
    assert_eq!(layer.layer(service_fn(hello)).oneshot(request()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_does_not_begin_in_time_is_refused_and_its_work_is_dropped() {
    struct Work<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Work<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = std::cell::Cell::new(false);
    let slow = service_fn(async |_: Request<Body>| {
        let _work = Work(&dropped);
        tokio::time::sleep(Duration::from_secs(31)).await;
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let began = tokio::time::Instant::now();
    let response = DeadlineLayer::new(Duration::from_secs(30)).layer(slow).oneshot(request()).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(dropped.get(), "the work goes on behind the client's back");
    assert_eq!(problem(response).await["type"], "urn:halfbyte:problem:deadline-exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_begins_just_in_time_is_not_refused() {
    let slow = service_fn(async |_: Request<Body>| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        hello(request()).await
    });
    let response = DeadlineLayer::new(Duration::from_secs(30)).layer(slow).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
