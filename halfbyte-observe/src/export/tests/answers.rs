//! What collectors answer that do not take everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::export::destination::Destination;
use crate::export::stats::Dropped;
use crate::export::transport::Transport;
use crate::testing::Fault;

async fn spans_to(receiver: &Receiver, protocol: &str) -> Product {
    Product::of_traces(receiver, &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)], None)
}

#[tokio::test]
async fn what_is_to_be_sent_again_is_sent_again_and_arrives_once() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail_next(2, Fault::unavailable(None));
        let product = spans_to(&receiver, protocol).await;
        product.spans(5);
        let flushed = product.telemetry.flush(LONG).await;
        assert!(flushed.is_complete(), "{protocol}: {flushed}");
        assert_eq!((receiver.spans().len(), receiver.received().duplicate_spans), (5, 0));
        assert_eq!(requests(&receiver, Signal::Traces), 3);
        let stats = product.telemetry.stats().traces;
        assert_eq!((stats.exported, stats.dropped.total()), (5, 0));
    }
}

#[tokio::test]
async fn a_collector_that_says_when_to_come_back_is_left_alone_until_then() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail(Fault::throttled(Duration::from_secs(3)));
        let product = spans_to(&receiver, protocol).await;
        product.spans(5);
        let flushed = product.telemetry.flush(Duration::from_millis(1500)).await;
        assert!(!flushed.is_complete());
        assert_eq!(requests(&receiver, Signal::Traces), 1, "{protocol}: a pause of our own would be over by now");
        assert_eq!(product.telemetry.stats().traces.spooled, 5);
        receiver.recover();
        let flushed = product.telemetry.flush(LONG).await;
        assert!(flushed.is_complete(), "{protocol}: {flushed}");
        assert_eq!((receiver.spans().len(), requests(&receiver, Signal::Traces)), (5, 2));
    }
}

#[tokio::test]
async fn a_partial_success_is_never_sent_again_and_what_was_rejected_is_counted() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail_next(1, Fault::Reject(2));
        let product = spans_to(&receiver, protocol).await;
        product.spans(5);
        let flushed = product.telemetry.flush(LONG).await;
        assert_eq!((receiver.spans().len(), requests(&receiver, Signal::Traces)), (3, 1), "{protocol}");
        let stats = &flushed.stats().traces;
        assert_eq!((stats.exported, stats.dropped), (3, Dropped { partial_success: 2, ..Dropped::default() }));
        assert!(stats.last_error.as_ref().unwrap().starts_with("the collector rejected 2 spans"), "{stats:?}");
        assert_eq!(flushed.failures()[0].unsent, 2);
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again_and_counted() {
    for (protocol, says) in PROTOCOLS.into_iter().zip(["400 Bad Request", "gRPC status 3"]) {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail_next(1, Fault::invalid());
        let product = spans_to(&receiver, protocol).await;
        product.spans(5);
        let flushed = product.telemetry.flush(LONG).await;
        assert_eq!((receiver.spans().len(), requests(&receiver, Signal::Traces)), (0, 1));
        assert_eq!(flushed.stats().traces.dropped, Dropped { rejected: 5, ..Dropped::default() });
        let failure = &flushed.failures()[0];
        assert_eq!((failure.signal, failure.unsent, failure.spooled), (Signal::Traces, 5, 0));
        assert!(failure.reason.contains(says), "{protocol}: {failure:?}");
        product.spans(1);
        assert!(product.telemetry.flush(LONG).await.is_complete(), "what comes later is sent");
    }
}

#[tokio::test]
async fn a_queue_without_room_drops_and_counts_and_never_waits() {
    let receiver = Receiver::start().await.unwrap();
    let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let product = Product::of_traces(&receiver, &variables, None);
    // Many more than the thread behind the queue can take out meanwhile.
    product.spans(20_000);
    let flushed = product.telemetry.shutdown(LONG).await;
    let stats = &flushed.stats().traces;
    assert!(flushed.is_complete() && stats.dropped.queue_full > 0 && stats.exported >= 10, "{stats:?}");
    assert_eq!(stats.exported + stats.dropped.queue_full, 20_000);
    assert_eq!(u64::try_from(receiver.spans().len()).unwrap(), stats.exported);
}

/// Answers every request with `head`, and never goes on. Says how many there were.
async fn never_ends(head: &'static str) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::<AtomicUsize>::default();
    let (counted, mut tasks) = (count.clone(), JoinSet::new());
    tasks.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut [0; 65536]).await.unwrap() > 0);
            counted.fetch_add(1, Ordering::Relaxed);
            socket.write_all(head.as_bytes()).await.unwrap();
            open.push(socket);
        }
    });
    (address, count, tasks)
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_what_its_status_says() {
    for (status, exported, rejected) in [("200 OK", 1, 0), ("400 Bad Request", 0, 1)] {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 4\r\n\r\n");
        let (address, count, _tasks) = never_ends(head.leak()).await;
        let receiver = Receiver::start().await.unwrap();
        let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*address), ("OTEL_EXPORTER_OTLP_TIMEOUT", "400")];
        let product = Product::of_traces(&receiver, &variables, None);
        product.spans(1);
        let flushed = product.telemetry.flush(LONG).await;
        let stats = &flushed.stats().traces;
        assert_eq!((stats.exported, stats.dropped.rejected), (exported, rejected), "{flushed} {stats:?}");
        assert_eq!(count.load(Ordering::Relaxed), 1, "{status}");
    }
}

#[test]
fn a_client_shows_no_password() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:1/?key=s3cret")];
    let variables = Config::parse(variables).unwrap().other;
    let to = Destination::read(&variables, Signal::Logs).unwrap().unwrap();
    let shown = format!("{:?}", Transport::new(Signal::Logs, &to).unwrap());
    assert!(shown.contains("Http") && !shown.contains("s3cret"), "{shown}");
}
