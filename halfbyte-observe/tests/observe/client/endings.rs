//! However a call ends, its span ends once and its duration is recorded once.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{FutureExt as _, poll, stream};
use halfbyte_core::BoxError;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry::trace::Status;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Body, Recorder, attributes, finish, get, ok};

const URI: &str = "http://example.com/";

fn failed_as(recorder: &Recorder, error: &str) {
    let (span, series) = recorder.once();
    assert_eq!((attributes(&span)["error.type"].as_str(), &span.status), (error, &Status::error("")));
    assert_eq!(series.attributes["error.type"], error);
}

fn did_not_fail(recorder: &Recorder) {
    let (span, series) = recorder.once();
    assert_eq!((attributes(&span).get("error.type"), &span.status), (None, &Status::Unset));
    assert_eq!(series.attributes.get("error.type"), None);
}

fn streaming(
    frames: Vec<Result<&'static str, io::ErrorKind>>,
) -> impl http_body::Body<Data = Bytes, Error = io::Error> {
    StreamBody::new(stream::iter(
        frames.into_iter().map(|frame| frame.map(|data| Frame::data(Bytes::from(data))).map_err(io::Error::from)),
    ))
}

#[tokio::test]
async fn a_call_ends_with_the_body_of_its_response() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(streaming(vec![Ok("one"), Ok("two")]))));
    let response = service.oneshot(get(URI)).await.unwrap();
    let mut body = pin!(response.into_body());
    for _ in 0..2 {
        assert!(recorder.spans().is_empty(), "there is more to come");
        assert!(body.frame().await.unwrap().is_ok());
    }
    assert!(body.frame().await.is_none());
    did_not_fail(&recorder);
}

#[tokio::test]
async fn a_call_ends_when_all_data_is_there_also_if_nobody_asks_for_the_end() {
    for response in [ok(), Response::new(Body::default())] {
        let recorder = Recorder::new();
        let response = Mutex::new(Some(response));
        let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(move |_: Request<Body>| {
            let response = response.lock().unwrap().take().unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        let mut body = service.oneshot(get(URI)).await.unwrap().into_body();
        if !http_body::Body::is_end_stream(&body) {
            assert!(recorder.spans().is_empty());
            body.frame().await;
        }
        did_not_fail(&recorder);
        drop(body);
        did_not_fail(&recorder);
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_unread_is_no_failure_and_one_that_is_dropped_half_way_is_cancelled() {
    for (frames, error) in [(0, None), (1, Some("cancelled"))] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(streaming(vec![Ok("one"), Ok("two")])))
        });
        let mut body = Box::pin(service.oneshot(get(URI)).await.unwrap().into_body());
        for _ in 0..frames {
            assert!(body.frame().await.is_some());
        }
        assert!(recorder.spans().is_empty());
        drop(body);
        match error {
            None => did_not_fail(&recorder),
            Some(error) => failed_as(&recorder, error),
        }
    }
}

#[tokio::test]
async fn a_status_that_says_it_failed_says_more_than_how_the_body_ended() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(async |_: Request<Body>| {
        Response::builder().status(503).body(streaming(vec![Ok("one"), Err(io::ErrorKind::ConnectionReset)]))
    });
    let body = service.oneshot(get(URI)).await.unwrap().into_body();
    assert!(body.collect().await.is_err());
    failed_as(&recorder, "503");
}

#[tokio::test]
async fn a_body_that_breaks_is_a_failure() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::new(streaming(vec![Ok("one"), Err(io::ErrorKind::ConnectionReset)])))
    });
    let body = service.oneshot(get(URI)).await.unwrap().into_body();
    assert!(body.collect().await.is_err());
    failed_as(&recorder, "connection_reset");
    assert_eq!(attributes(&recorder.once().0)["http.response.status_code"], "200");
}

#[tokio::test]
async fn a_client_that_fails_hands_on_its_error_as_it_is() {
    for (kind, name) in [
        (io::ErrorKind::ConnectionRefused, "connection_refused"),
        (io::ErrorKind::TimedOut, "timeout"),
        (io::ErrorKind::InvalidData, "std::io::error::Error"),
    ] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new()
            .layer(recorder.layer())
            .service_fn(move |_: Request<Body>| async move { Err::<Response<Body>, _>(io::Error::from(kind)) });
        assert_eq!(service.oneshot(get(URI)).await.unwrap_err().kind(), kind);
        failed_as(&recorder, name);
        let (span, series) = recorder.once();
        assert!(!attributes(&span).contains_key("http.response.status_code"));
        assert!(!series.attributes.contains_key("network.protocol.version"));
    }
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(BoxError::from("password=hunter2")));
    assert!(service.oneshot(get(URI)).await.is_err());
    failed_as(&recorder, "_OTHER");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    {
        let mut call = pin!(service.oneshot(get(URI)));
        assert!(poll!(call.as_mut()).is_pending());
        assert!(recorder.spans().is_empty());
    }
    failed_as(&recorder, "cancelled");
}

#[tokio::test]
async fn a_call_that_is_never_polled_ends_too() {
    let recorder = Recorder::new();
    let mut service =
        ServiceBuilder::new().layer(recorder.layer()).service_fn(async |_: Request<Body>| Ok::<_, Infallible>(ok()));
    let ready = tower::ServiceExt::<Request<Body>>::ready(&mut service).await.unwrap();
    drop(tower::Service::call(ready, get(URI)));
    failed_as(&recorder, "cancelled");
}

#[tokio::test]
async fn a_hundred_calls_that_are_dropped_are_a_hundred_spans_and_durations() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let mut calls: Vec<_> = (0..100).map(|_| Box::pin(service.clone().oneshot(get(URI)))).collect();
    for call in &mut calls {
        assert!(poll!(call.as_mut()).is_pending());
    }
    drop(calls);
    assert_eq!(recorder.spans().len(), 100);
    assert_eq!(recorder.durations().iter().map(|series| series.count).sum::<u64>(), 100);
}

#[tokio::test]
async fn a_panic_ends_the_span_wherever_it_is() {
    let at_once = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(at_once.layer())
        .service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> { panic!("at once") });
    assert!(AssertUnwindSafe(service.oneshot(get(URI))).catch_unwind().await.is_err());
    failed_as(&at_once, "panic");

    let later = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(later.layer())
        .service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> { panic!("later") });
    assert!(AssertUnwindSafe(service.oneshot(get(URI))).catch_unwind().await.is_err());
    failed_as(&later, "panic");

    let in_body = Recorder::new();
    let service = ServiceBuilder::new().layer(in_body.layer()).service_fn(async |_: Request<Body>| {
        async fn frame() -> Result<Frame<Bytes>, Infallible> {
            panic!("in the body")
        }
        Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(stream::once(frame())))))
    });
    let response = service.oneshot(get(URI)).await.unwrap();
    assert!(AssertUnwindSafe(finish(response)).catch_unwind().await.is_err());
    failed_as(&in_body, "panic");
}

/// Frames of a body that says what it knows of its length and its end, as those of HTTP/1 and HTTP/2 do.
struct Told {
    frames: std::vec::IntoIter<Frame<Bytes>>,
    length: Option<u64>,
    tells_its_end: bool,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.next();
        if let (Some(length), Some(data)) = (&mut self.length, frame.as_ref().and_then(Frame::data_ref)) {
            *length -= data.len() as u64;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.tells_its_end && self.frames.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[tokio::test]
async fn a_call_ends_as_soon_as_it_is_known_that_nothing_more_comes() {
    let data = || Frame::data(Bytes::from_static(b"data"));
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        Frame::trailers(trailers)
    };
    for (what, content_type, frames, length, tells_its_end, ends_after) in [
        ("length, HTTP", "text/plain", vec![data(), data()], Some(8), false, 2),
        ("no length, HTTP", "text/plain", vec![data(), data()], None, false, 3),
        ("end, HTTP", "text/plain", vec![data(), data()], None, true, 2),
        ("empty", "text/plain", vec![], Some(0), false, 0),
        ("at its end from the start", "text/plain", vec![], None, true, 0),
        ("trailers, HTTP", "text/plain", vec![data(), trailers()], None, false, 2),
        ("length, gRPC", "application/grpc", vec![data(), trailers()], Some(4), false, 2),
        ("no length, gRPC", "application/grpc", vec![data(), trailers()], None, false, 2),
    ] {
        let recorder = Recorder::new();
        let body = Mutex::new(Some(Told { frames: frames.into_iter(), length, tells_its_end }));
        let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(move |_: Request<Body>| {
            let response = Response::new(body.lock().unwrap().take().unwrap());
            async move { Ok::<_, Infallible>(response) }
        });
        let mut request = get(URI);
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let mut body = service.oneshot(request).await.unwrap().into_body();
        let mut polled = 0;
        while recorder.spans().is_empty() {
            body.frame().await;
            polled += 1;
        }
        assert_eq!(polled, ends_after, "{what}");
        did_not_fail(&recorder);
    }
}

#[tokio::test]
async fn a_span_ends_with_its_call_also_where_work_that_it_started_goes_on() {
    let recorder = Recorder::new();
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(move |_: Request<Body>| {
        *keep.lock().unwrap() = Some(opentelemetry::Context::current());
        async { Ok::<_, Infallible>(ok()) }
    });
    finish(service.oneshot(get(URI)).await.unwrap()).await;
    did_not_fail(&recorder);
    assert!(kept.lock().unwrap().is_some());
}

#[tokio::test]
async fn a_caller_who_asks_for_more_of_a_body_and_gives_up_has_cancelled_the_call() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new().layer(recorder.layer()).service_fn(async |_: Request<Body>| {
        let never = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(never)))
    });
    let response = service.oneshot(get(URI)).await.unwrap();
    {
        let mut more = pin!(response.into_body().collect());
        assert!(poll!(more.as_mut()).is_pending());
        assert!(recorder.spans().is_empty());
    }
    failed_as(&recorder, "cancelled");
}
