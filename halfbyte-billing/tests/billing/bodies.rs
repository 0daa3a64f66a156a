//! Bodies that are settled when they end, however they end.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use halfbyte_billing::{EntitleLayer, Entitled, FeatureName, MeterLayer};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::scripted::{Got, Reply, Scripted, Step, read, read_all, send};
use crate::support::{Desk, Folder, keyed, request};

struct Labels;

impl FeatureName for Labels {
    const NAME: &'static str = "labels";
}

fn entitle(desk: &Desk, units: u64) -> EntitleLayer {
    desk.billing.entitle("labels").expect("there").units(move |_| units)
}

/// A unit for every 100 bytes.
fn by_bytes(desk: &Desk) -> MeterLayer {
    desk.billing.meter().units_of_body(NonZeroU64::new(100).expect("not zero"))
}

async fn download(desk: &Desk, body: Scripted) -> Reply {
    send(entitle(desk, 1), by_bytes(desk), request("acme"), move |_| Response::new(body.clone())).await
}

/// A gRPC call whose response has this body.
async fn rpc(desk: &Desk, meter: MeterLayer, body: Scripted) -> Reply {
    let mut request = request("acme");
    request.headers_mut().insert("content-type", "application/grpc".parse().expect("a header"));
    send(entitle(desk, 1), meter, request, move |_| Response::new(body.clone())).await
}

async fn endless(folder: &Folder) -> Desk {
    Desk::with_plan(&folder.home(), "endless").await
}

#[tokio::test]
async fn a_body_is_billed_by_its_bytes_and_a_unit_that_is_begun_counts() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let mut expected = 0;
    for (bytes, units) in [(1, 1), (99, 1), (100, 1), (101, 2), (1000, 10)] {
        for body in [Scripted::streamed([Step::Data(bytes)]), Scripted::of_known_length([Step::Data(bytes)])] {
            let got = read_all(download(&desk, body).await).await;
            assert_eq!(got, Got { bytes, ..Got::default() });
            expected += units;
            assert_eq!(desk.used("acme").await, expected, "{bytes} bytes");
        }
    }
}

#[tokio::test]
async fn a_body_of_known_length_is_settled_with_its_last_byte() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    // A server reads no further, and drops it later.
    let mut body = download(&desk, Scripted::of_known_length([Step::Data(150), Step::Data(60)])).await.into_body();
    body.frame().await.expect("a frame").expect("data");
    assert_eq!((desk.used("acme").await, body.is_end_stream()), (0, false));
    body.frame().await.expect("a frame").expect("data");
    assert_eq!((desk.used("acme").await, body.is_end_stream()), (3, true));
    drop(body);
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn what_a_body_says_of_its_length_is_kept() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let known = download(&desk, Scripted::of_known_length([Step::Data(150), Step::Data(60)])).await;
    assert_eq!((known.body().size_hint().exact(), known.body().is_end_stream()), (Some(210), false));
    let unknown = download(&desk, Scripted::streamed([Step::Data(150)])).await;
    assert_eq!((unknown.body().size_hint().exact(), unknown.body().is_end_stream()), (None, false));
    let empty = download(&desk, Scripted::of_known_length([])).await;
    assert_eq!((empty.body().size_hint().exact(), empty.body().is_end_stream()), (Some(0), true));
}

/// A body that turns out to be at its end without a frame that says so.
struct Closed(Arc<AtomicBool>);

impl http_body::Body for Closed {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        if self.0.swap(true, Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(b"a label")))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_body_is_not_said_to_be_at_its_end_before_it_is_settled() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let closed = Arc::new(AtomicBool::new(false));
    let handler = {
        let closed = closed.clone();
        service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(Closed(closed.clone())))))
    };
    let app = entitle(&desk, 1).layer(by_bytes(&desk).layer(handler));
    let mut body = app.oneshot(request("acme")).await.expect("infallible").into_body();
    closed.store(true, Ordering::Relaxed);
    assert!(!body.is_end_stream(), "whoever stops reading here would not hear of an error");
    assert!(body.frame().await.is_none());
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn what_was_reserved_is_held_until_the_body_ends_and_the_rest_is_given_back() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let answer = |_: &Request<()>| Response::new(Scripted::streamed([Step::Data(50)]));
    let reply = send(entitle(&desk, 3), by_bytes(&desk), request("acme"), answer).await;
    assert_eq!(desk.status("labels", request("acme")).await, 429, "all three are reserved");
    read_all(reply).await;
    assert_eq!(desk.used("acme").await, 1);
    for expected in [200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
}

#[tokio::test]
async fn what_was_delivered_beyond_what_was_reserved_is_counted_also_beyond_the_limit() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    read_all(download(&desk, Scripted::streamed([Step::Data(150)])).await).await;
    assert_eq!(desk.used("acme").await, 2);
    assert_eq!(desk.status("labels", request("acme")).await, 200, "one of three is left");
    assert_eq!(desk.status("labels", request("acme")).await, 429);

    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    read_all(download(&desk, Scripted::streamed([Step::Data(1000)])).await).await;
    assert_eq!(desk.used("acme").await, 10);
    assert_eq!(desk.status("labels", request("acme")).await, 429);
    desk.stop().await;
    let desk = Desk::open(&folder.home()).await;
    assert_eq!((desk.used("acme").await, desk.status("labels", request("acme")).await), (10, 429));
}

#[tokio::test]
async fn what_is_used_beyond_a_reservation_is_not_taken_out_of_those_of_others() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let other = Desk::open(&folder.home()).await;
    let call = async |desk: &Desk, units, bytes| {
        let answer = move |_: &Request<()>| Response::new(Scripted::streamed([Step::Data(bytes)]));
        send(entitle(desk, units), by_bytes(desk), request("acme"), answer).await
    };
    let open = call(&desk, 400, 40_000).await;
    read_all(call(&desk, 0, 5_000).await).await;
    assert_eq!(desk.used("acme").await, 50);
    assert_eq!(call(&other, 51, 0).await.status(), 429, "400 are held and 50 were used");
    read_all(call(&other, 50, 5_000).await).await;
    assert_eq!(other.used("acme").await, 100);
    read_all(open).await;
    assert_eq!(desk.used("acme").await, 500);
}

#[tokio::test]
async fn a_body_that_fails_half_way_is_billed_by_what_was_delivered() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let got = read_all(download(&desk, Scripted::streamed([Step::Data(250), Step::Fail])).await).await;
    assert_eq!((got.bytes, got.error.as_deref()), (250, Some("the script says so")));
    assert_eq!(desk.used("acme").await, 3);
    read_all(download(&desk, Scripted::streamed([Step::Fail])).await).await;
    assert_eq!(desk.used("acme").await, 3, "nothing was delivered");
}

#[tokio::test]
async fn a_client_that_hangs_up_half_way_is_billed_by_what_was_delivered() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    for (frames, used) in [(1, 2), (2, 6), (0, 6)] {
        let body = Scripted::streamed([Step::Data(110), Step::Data(210), Step::Data(1000)]);
        read(download(&desk, body).await, frames).await;
        assert_eq!(desk.used("acme").await, used, "after {frames} frames");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_billed_and_its_units_are_free_again() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for _ in 0..5 {
        // As a server does with the body of an answer to HEAD.
        drop(download(&desk, Scripted::of_known_length([Step::Data(500)])).await);
    }
    for empty in [Scripted::of_known_length([]), Scripted::streamed([]), Scripted::streamed([Step::Data(0)])] {
        read_all(download(&desk, empty).await).await;
    }
    assert_eq!(desk.used("acme").await, 0);
    for _ in 0..3 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
}

#[tokio::test]
async fn a_failed_answer_is_not_billed_however_long_its_body() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    for (status, used) in [(404, 5), (500, 10)] {
        let answer = move |_: &Request<()>| {
            Response::builder().status(status).body(Scripted::streamed([Step::Data(500)])).expect("built")
        };
        let got = read_all(send(entitle(&desk, 1), by_bytes(&desk), request("acme"), answer).await).await;
        assert_eq!((got.bytes, desk.used("acme").await), (500, used - 5));
        let meter = by_bytes(&desk).bill_failures(true);
        let got = read_all(send(entitle(&desk, 1), meter, request("acme"), answer).await).await;
        assert_eq!(got.bytes, 500);
        assert_eq!(desk.used("acme").await, used, "the product says so");
    }
}

#[tokio::test]
async fn trailers_go_through_and_are_not_counted() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let body = Scripted::streamed([Step::Data(100), Step::Trailers("digest", "of all")]);
    let got = read_all(download(&desk, body).await).await;
    assert_eq!((got.bytes, &got.trailers.expect("there")["digest"]), (100, &"of all".parse().expect("a header")));
    assert_eq!(desk.used("acme").await, 1);
}

#[tokio::test]
async fn a_grpc_call_is_paid_for_by_the_status_in_its_trailers() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let (message, ok) = (Step::Data(250), Step::Trailers("grpc-status", "0"));
    let failed = Step::Trailers("grpc-status", "13");
    let mut used = 0;
    for (steps, units) in [
        (vec![message.clone(), ok.clone()], 1),
        (vec![ok], 1),
        (vec![message.clone(), failed.clone()], 0),
        (vec![failed], 0),
        (vec![message.clone()], 0),
        (vec![message.clone(), Step::Fail], 0),
    ] {
        read_all(rpc(&desk, desk.billing.meter(), Scripted::streamed(steps.clone())).await).await;
        used += units;
        assert_eq!(desk.used("acme").await, used, "{steps:?}");
    }
    // The message is the client's; that he does not wait for the status gives it to nobody for nothing.
    read(rpc(&desk, desk.billing.meter(), Scripted::streamed([message.clone(), Step::Data(1)])).await, 1).await;
    assert_eq!(desk.used("acme").await, used + 1);
    read(rpc(&desk, desk.billing.meter(), Scripted::streamed([message])).await, 0).await;
    assert_eq!(desk.used("acme").await, used + 1);
}

#[tokio::test]
async fn bytes_of_a_grpc_call_that_failed_are_not_paid_for() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    for (status, used) in [("13", 0), ("0", 3)] {
        let body = Scripted::streamed([Step::Data(250), Step::Trailers("grpc-status", status)]);
        read_all(rpc(&desk, by_bytes(&desk), body).await).await;
        assert_eq!(desk.used("acme").await, used, "{status}");
    }
}

#[tokio::test]
async fn the_product_may_say_which_grpc_calls_are_paid_for() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let failed = || Scripted::streamed([Step::Data(1), Step::Trailers("grpc-status", "13")]);
    read_all(rpc(&desk, desk.billing.meter().bill_failures(true), failed()).await).await;
    assert_eq!(desk.used("acme").await, 1);
    let of_thirteen = |_, headers: &HeaderMap| headers.get("grpc-status").is_some_and(|status| status == "13");
    read_all(rpc(&desk, desk.billing.meter().bill_when(of_thirteen), failed()).await).await;
    assert_eq!(desk.used("acme").await, 2, "it sees the trailers");
    let good = Scripted::streamed([Step::Data(1), Step::Trailers("grpc-status", "0")]);
    read_all(rpc(&desk, desk.billing.meter().bill_when(of_thirteen), good).await).await;
    assert_eq!(desk.used("acme").await, 2);
}

#[tokio::test]
async fn a_body_whose_use_cannot_be_recorded_ends_with_an_error_in_place_of_its_last_frame() {
    for body in [
        Scripted::streamed([Step::Data(100), Step::Data(100)]),
        Scripted::of_known_length([Step::Data(100), Step::Data(100)]),
        Scripted::streamed([Step::Data(100), Step::Data(100), Step::Trailers("digest", "of all")]),
    ] {
        let folder = Folder::new();
        let desk = endless(&folder).await;
        let reply = download(&desk, body.clone()).await;
        // While it is sent, the process stops.
        assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
        let mut sent = reply.into_body();
        let mut bytes = 0;
        let error = loop {
            match sent.frame().await.expect("an error comes before the end") {
                Ok(frame) => bytes += frame.data_ref().expect("no trailers").len(),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("cannot be written"), "{error}");
        assert_eq!(bytes, if body.size_hint().exact().is_some() { 100 } else { 200 });
        assert!(sent.is_end_stream() && sent.size_hint().exact() == Some(0) && sent.frame().await.is_none());
        assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 0);
    }
}

#[tokio::test]
async fn a_body_that_broke_off_does_not_use_up_its_key() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let attempt = async |frames: usize| {
        let answer = |_: &Request<()>| Response::new(Scripted::streamed([Step::Data(100), Step::Data(400)]));
        read(send(entitle(&desk, 1), by_bytes(&desk), keyed("acme", "one"), answer).await, frames).await;
        desk.used("acme").await
    };
    assert_eq!(attempt(1).await, 1);
    assert_eq!(attempt(1).await, 2, "it was delivered again");
    assert_eq!(attempt(usize::MAX).await, 7);
    assert_eq!(attempt(usize::MAX).await, 7, "now the key is counted");
    assert_eq!(desk.billing.stats().conflicts, 0);
}

#[tokio::test]
async fn a_handler_may_say_as_it_sends_how_much_it_is() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let meter = || desk.billing.meter().at_end_of_body();
    let mut used = 0;
    for (frames, said, units) in
        [(usize::MAX, &[4_u64, 9][..], 9), (1, &[4], 4), (0, &[4], 0), (1, &[], 2), (usize::MAX, &[], 2)]
    {
        let (tell, told) = std::sync::mpsc::channel();
        let answer = move |request: &Request<()>| {
            tell.send(Entitled::<Labels>::of(request.extensions()).expect("it went through")).expect("listened to");
            Response::new(Scripted::streamed([Step::Data(10), Step::Data(10)]))
        };
        let reply = send(entitle(&desk, 2), meter(), request("acme"), answer).await;
        let entitled = told.recv().expect("the handler was called");
        assert!(said.iter().all(|units| entitled.settle_units(*units)));
        read(reply, frames).await;
        assert!(!entitled.settle_units(100), "it is too late");
        used += units;
        assert_eq!(desk.used("acme").await, used, "{frames} {said:?}");
    }
}

#[tokio::test]
async fn a_body_that_panics_is_billed_by_what_was_delivered() {
    let folder = Folder::new();
    let desk = endless(&folder).await;
    let reply = download(&desk, Scripted::streamed([Step::Data(150), Step::Data(1)])).await;
    let mut body = reply.into_body().map_frame(|frame| {
        assert!(frame.data_ref().is_none_or(|data| data.len() > 1), "the test says so");
        frame
    });
    let task = desk.life.spawn("reader", async move { while body.frame().await.is_some() {} });
    task.await.expect_err("it panicked");
    assert_eq!(desk.used("acme").await, 2, "151 bytes were handed over");
}

#[test]
fn any_chunking_of_a_body_bills_the_same_and_any_part_of_it_by_its_bytes() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let desk = runtime.block_on(endless(&folder));
    let before = std::cell::Cell::new(0);
    let chunks = prop::collection::vec(prop_oneof![Just(0), 1..250_usize, Just(100)], 0..12);
    let input = (chunks, any::<bool>(), prop::option::of(0..14_usize), 0..20_u64);
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&input, |(chunks, tells_length, hang_up_after, reserved)| {
        let used = runtime.block_on(async {
            let steps = chunks.iter().map(|bytes| Step::Data(*bytes));
            let body = if tells_length { Scripted::of_known_length(steps) } else { Scripted::streamed(steps) };
            let answer = move |_: &Request<()>| Response::new(body.clone());
            let reply = send(entitle(&desk, reserved), by_bytes(&desk), request("acme"), answer).await;
            let got = read(reply, hang_up_after.unwrap_or(usize::MAX)).await;
            let sent: usize = chunks.iter().take(hang_up_after.unwrap_or(usize::MAX)).sum();
            assert_eq!(got, Got { bytes: sent, ..Got::default() });
            let used = desk.used("acme").await;
            (used - before.replace(used), (sent as u64).div_ceil(100))
        });
        prop_assert_eq!(used.0, used.1);
        Ok(())
    });
    outcome.expect("holds");
}
