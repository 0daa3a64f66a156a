//! Collectors that are away, hang, or are slow: nothing is lost.

use std::time::Instant;

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

use super::*;
use crate::testing::Fault;

/// So many spans a second, for so long.
async fn traffic(product: &Product, per_second: usize, lasts: Duration) -> usize {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let (start, mut made) = (Instant::now(), 0);
    while start.elapsed() < lasts {
        ticks.tick().await;
        let due = per_second * usize::try_from(start.elapsed().as_millis()).unwrap() / 1000;
        product.spans(due.saturating_sub(made));
        made = made.max(due);
    }
    made
}

async fn survives(receiver: &Receiver, product: &Product, down: Duration) {
    let second = Duration::from_secs(1);
    let mut made = traffic(product, 500, second).await;
    receiver.close().await;
    made += traffic(product, 500, down).await;
    let stats = product.telemetry.stats().traces;
    assert!(stats.spooled > 0 && stats.is_balanced(), "{stats:?}");
    receiver.open().await.unwrap();
    made += traffic(product, 500, second).await;
    let flushed = product.telemetry.flush(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    let (received, stats) = (receiver.received(), &flushed.stats().traces);
    // What was under way when it was killed may have been kept without an answer.
    assert_eq!(received.spans.len() - received.duplicate_spans, made);
    assert_eq!((stats.created, stats.exported, stats.dropped.total()), (made as u64, made as u64, 0));
    assert_eq!(stats.unsent(), 0);
}

#[tokio::test]
async fn a_collector_that_is_killed_for_ten_seconds_has_every_span_in_the_end() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let product = Product::of_traces(&receiver, &[], Some(home.path()));
    survives(&receiver, &product, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn so_it_has_over_grpc_and_without_a_disk() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::of_traces(&receiver, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], None);
    survives(&receiver, &product, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_collector_that_hangs_gets_everything_when_it_is_well_again() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_TIMEOUT", "200")];
        let product = Product::of_traces(&receiver, &variables, None);
        receiver.fail(Fault::Hang);
        product.spans(100);
        assert!(receiver.wait_for(|received| received.requests.len() >= 2, LONG).await);
        product.spans(100);
        receiver.recover();
        let flushed = product.telemetry.flush(LONG).await;
        assert!(flushed.is_complete(), "{protocol}: {flushed}");
        assert_eq!((receiver.spans().len(), receiver.received().duplicate_spans), (200, 0));
        let stats = &flushed.stats().traces;
        assert_eq!((stats.exported, stats.last_error.as_deref()), (200, Some("no answer within 200ms")));
    }
}

#[tokio::test]
async fn a_collector_that_is_slower_than_the_product_costs_no_span() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "200"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")];
    let product = Product::of_traces(&receiver, &variables, Some(home.path()));
    receiver.fail(Fault::Slow(Duration::from_millis(300)));
    let made = traffic(&product, 1000, Duration::from_secs(2)).await;
    let stats = product.telemetry.stats().traces;
    assert!(stats.spooled > 0, "{stats:?}");
    receiver.recover();
    let flushed = product.telemetry.flush(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    assert_eq!((receiver.spans().len(), flushed.stats().traces.dropped.total()), (made, 0));
}

#[tokio::test]
async fn the_order_is_kept_through_an_outage() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    receiver.close().await;
    let product = Product::of_traces(&receiver, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7")], Some(home.path()));
    let tracer = product.providers.traces.as_ref().unwrap().provider.tracer("test");
    for number in 0..100 {
        tracer.start(format!("{number:03}")).end();
        if number == 50 {
            assert!(!product.telemetry.flush(Duration::from_secs(5)).await.is_complete());
        }
    }
    receiver.open().await.unwrap();
    assert!(product.telemetry.flush(LONG).await.is_complete());
    let spans = receiver.spans();
    assert!(spans.len() == 100 && spans.names().is_sorted(), "{:?}", spans.names());
}
