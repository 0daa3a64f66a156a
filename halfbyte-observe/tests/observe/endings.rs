//! However a request ends, its span ends once and its duration is recorded once.

use std::convert::Infallible;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, poll, stream};
use halfbyte_core::TraceId;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry::trace::Status;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, attribute, finish, get, ok};

#[tokio::test]
async fn a_request_is_one_span_and_one_duration() {
    let kit = Kit::new();
    let service = ServiceBuilder::new().layer(kit.layer()).service_fn(ok);
    let response = service.oneshot(get("/")).await.unwrap();
    assert!(kit.spans().is_empty(), "the response is still to be sent");
    assert_eq!(finish(response).await, "hello");
    let (span, series) = kit.once();
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(span.status, Status::Unset);
    assert_eq!(series.attributes["http.response.status_code"], "200");
}

#[tokio::test]
async fn a_cancelled_request_ends_its_span_once() {
    let kit = Kit::new();
    let service = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    {
        let mut request = pin!(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")));
        assert!(poll!(request.as_mut()).is_pending());
        assert!(kit.spans().is_empty());
    }
    let (span, series) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("cancelled"));
    assert_eq!(attribute(&span, "http.response.status_code"), None);
    assert_eq!(span.status, Status::Unset, "a client that goes away is no fault of the server");
    assert_eq!(series.attributes["error.type"], "cancelled");
}

#[tokio::test]
async fn a_request_that_is_never_polled_ends_its_span_once() {
    let kit = Kit::new();
    let mut service = ServiceBuilder::new().layer(kit.layer()).service_fn(ok);
    let request = service.ready().await.unwrap();
    drop(tower::Service::call(request, get("/")));
    assert_eq!(kit.once().1.attributes["error.type"], "cancelled");
}

fn streaming() -> StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Unpin> {
    StreamBody::new(stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(b"more")))))
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_ends_the_span_once() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(streaming())));
    let response = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    assert!(kit.spans().is_empty());
    drop(body);
    let (span, series) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("cancelled"));
    assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(series.attributes["http.response.status_code"], "200");
}

/// Knows how much it has, and not when it is through.
struct Announced(&'static [u8]);

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = mem::take(&mut self.get_mut().0);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(data)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[tokio::test]
async fn a_span_ends_with_the_last_frame_of_a_body_that_says_so() {
    let kit = Kit::new();
    let response = ServiceBuilder::new().layer(kit.layer()).service_fn(ok).oneshot(get("/")).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    assert_eq!(attribute(&kit.once().0, "error.type"), None);
    drop(body);
    kit.once();
}

#[tokio::test]
async fn a_body_of_known_length_is_complete_when_its_last_byte_was_taken() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Announced(b"hello"))));
    let response = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    // As a server does that has sent as many bytes as it announced.
    drop(body);
    assert_eq!(attribute(&kit.once().0, "error.type"), None);
}

#[tokio::test]
async fn a_span_ends_with_its_response_although_something_still_holds_its_context() {
    let (kit, held) = (Kit::new(), Mutex::new(None));
    let service = service_fn(|_: Request<Body>| {
        *held.lock().unwrap() = Some(opentelemetry::Context::current());
        async { Ok::<_, Infallible>(Response::new(Body::default())) }
    });
    finish(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap()).await;
    assert!(held.lock().unwrap().is_some());
    kit.once();
}

#[tokio::test]
async fn a_response_without_content_is_complete_although_its_body_is_never_asked_for() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let kit = Kit::new();
        let service = service_fn(move |_: Request<Body>| async move {
            Response::builder().status(status).body(Body::from("not sent"))
        });
        let request = Request::builder().method(&method).uri("/").body(Body::default()).unwrap();
        let response = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(request).await.unwrap();
        drop(response);
        assert_eq!(attribute(&kit.once().0, "error.type"), None, "{method} {status}");
    }
}

#[tokio::test]
async fn a_response_to_head_has_no_content_whether_or_not_the_method_is_told_apart() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::from("not sent"))));
    let request = Request::head("/").body(Body::default()).unwrap();
    let response = kit.layer().known_methods(["GET"]).layer(service).oneshot(request).await.unwrap();
    drop(response);
    let (span, _) = kit.once();
    assert_eq!(attribute(&span, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&span, "error.type"), None);
}

#[tokio::test]
async fn a_body_that_breaks_is_an_error_of_the_request() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| {
        let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Err("the disk is gone")];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames).chain(stream::pending()))))
    });
    let response = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let (span, _) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("body_error"));
    assert!(matches!(span.status, Status::Error { .. }));
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_span_once_as_an_error() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> {
        tokio::task::yield_now().await;
        panic!("a defect")
    });
    let request = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/"));
    assert!(AssertUnwindSafe(request).catch_unwind().await.is_err());
    let (span, series) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("panic"));
    assert!(matches!(span.status, Status::Error { .. }));
    assert_eq!(series.attributes["error.type"], "panic");
}

#[tokio::test]
async fn a_service_that_panics_before_it_answers_a_future_ends_its_span_once() {
    let kit = Kit::new();
    let service =
        service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> { panic!("a defect") });
    let request = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/"));
    assert!(AssertUnwindSafe(request).catch_unwind().await.is_err());
    assert_eq!(attribute(&kit.once().0, "error.type").as_deref(), Some("panic"));
}

#[tokio::test]
async fn an_error_of_the_service_passes_as_it_is_and_ends_the_span_once() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("no service today"));
    let error = ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.err();
    assert_eq!(error, Some("no service today"));
    let (span, _) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("service_error"));
    assert!(matches!(span.status, Status::Error { .. }));
}

#[tokio::test]
async fn a_hundred_requests_at_once_of_which_half_are_cancelled_are_a_hundred_spans() {
    let kit = Kit::new();
    let service = ServiceBuilder::new().layer(kit.layer()).service_fn(async |request: Request<Body>| {
        if request.uri().path() == "/stuck" {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::builder().status(StatusCode::CREATED).body(Body::default()).unwrap())
    });
    let requests = (0..100).map(|n| {
        let request = service.clone().oneshot(get(if n % 2 == 0 { "/" } else { "/stuck" }));
        tokio::time::timeout(std::time::Duration::from_millis(10), request)
    });
    let outcomes = futures_util::future::join_all(requests).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    drop(outcomes);
    assert_eq!(kit.spans().len(), 100);
    assert_eq!(kit.durations().iter().map(|series| series.count).sum::<u64>(), 100);
}

#[tokio::test]
async fn a_hundred_cancelled_requests_leave_the_gauge_at_zero_and_a_hundred_durations() {
    let kit = Kit::new();
    let service = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let service = ServiceBuilder::new().layer(kit.layer()).service(service);
    let mut requests: Vec<_> = (0..100).map(|_| Box::pin(service.clone().oneshot(get("/")))).collect();
    for request in &mut requests {
        assert!(poll!(request.as_mut()).is_pending());
    }
    assert_eq!(kit.active().into_iter().collect::<Vec<_>>(), [("http.request.method=GET url.scheme=http".into(), 100)]);
    assert!(kit.durations().is_empty() && kit.spans().is_empty());
    drop(requests);
    assert_eq!(kit.active().into_values().collect::<Vec<_>>(), [0]);
    let durations = kit.durations();
    assert_eq!(durations.iter().map(|series| series.count).collect::<Vec<_>>(), [100]);
    assert_eq!(kit.spans().len(), 100);
}

#[tokio::test]
async fn however_a_request_ends_the_gauge_is_given_back() {
    let kit = Kit::new();
    let layer = kit.layer();
    let over = |kit: &Kit| assert!(kit.active().into_values().all(|active| active == 0), "{:?}", kit.active());
    finish(layer.layer(service_fn(ok)).oneshot(get("/")).await.unwrap()).await;
    over(&kit);
    let failing = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("no service today"));
    assert!(layer.layer(failing).oneshot(get("/")).await.is_err());
    over(&kit);
    let panicking = service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> { panic!("a defect") });
    assert!(AssertUnwindSafe(layer.layer(panicking).oneshot(get("/"))).catch_unwind().await.is_err());
    over(&kit);
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(streaming())));
    let response = layer.layer(service).oneshot(get("/")).await.unwrap();
    assert_eq!(kit.active().into_values().collect::<Vec<_>>(), [1], "its body is still to be sent");
    drop(response);
    over(&kit);
    assert_eq!(kit.spans().len(), 4);
    assert_eq!(kit.durations().iter().map(|series| series.count).sum::<u64>(), 4);
}

#[tokio::test]
async fn a_body_that_panics_ends_its_span_once_as_an_error() {
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| {
        let body = StreamBody::new(stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("a defect")
        }));
        Ok::<_, Infallible>(Response::new(body))
    });
    let response = kit.layer().layer(service).oneshot(get("/")).await.unwrap();
    assert!(AssertUnwindSafe(response.into_body().collect()).catch_unwind().await.is_err());
    let (span, _) = kit.once();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("panic"));
    assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("200"));
}

#[tokio::test]
async fn a_span_is_as_long_as_its_measurement_says() {
    let kit = Kit::new();
    finish(ServiceBuilder::new().layer(kit.layer()).service_fn(ok).oneshot(get("/")).await.unwrap()).await;
    let (span, series) = kit.once();
    let took = span.end_time.duration_since(span.start_time).unwrap().as_secs_f64();
    assert!((took - series.sum).abs() < 1e-9, "{took} {}", series.sum);
}

#[tokio::test]
async fn what_a_cancelled_request_drops_is_dropped_within_its_trace() {
    struct Guard(&'static Mutex<Vec<Option<String>>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(TraceId::current().map(|trace| trace.to_string()));
        }
    }
    static SEEN: Mutex<Vec<Option<String>>> = Mutex::new(Vec::new());
    let kit = Kit::new();
    let service = service_fn(async |_: Request<Body>| {
        let _guard = Guard(&SEEN);
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    {
        let mut request = pin!(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")));
        assert!(poll!(request.as_mut()).is_pending());
    }
    let streaming = service_fn(async |_: Request<Body>| {
        let guard = Guard(&SEEN);
        let frames = stream::pending::<Result<Frame<Bytes>, Infallible>>().map(move |frame| {
            let _held = &guard;
            frame
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    drop(ServiceBuilder::new().layer(kit.layer()).service(streaming).oneshot(get("/")).await.unwrap());
    let spans: Vec<_> = kit.spans().iter().map(|span| Some(span.span_context.trace_id().to_string())).collect();
    assert_eq!((spans.len(), &*SEEN.lock().unwrap()), (2, &spans));
    assert!(kit.spans().iter().all(|span| attribute(span, "error.type").as_deref() == Some("cancelled")));
}
