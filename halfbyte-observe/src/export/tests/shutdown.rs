//! The end of a process keeps its deadline, and loses nothing where there is a disk.

use std::time::Instant;

use super::*;
use crate::testing::Fault;

const BUDGET: Duration = Duration::from_secs(2);

/// Shuts down on the only thread of this runtime, which goes on meanwhile. Loose limits, for a busy machine.
async fn in_time(telemetry: Telemetry) -> crate::Flushed {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let ticking = async {
        loop {
            ticks.tick().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    };
    let flushed = tokio::select! {
        flushed = telemetry.shutdown(BUDGET) => flushed,
        () = ticking => unreachable!("it never ends"),
    };
    assert!(start.elapsed() < BUDGET + Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(longest < Duration::from_millis(1500), "the thread stood still for {longest:?}");
    flushed
}

#[tokio::test(flavor = "current_thread")]
async fn with_a_collector_that_hangs_the_rest_goes_to_disk_and_the_next_process_sends_it() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    receiver.fail(Fault::Hang);
    let product = Product::of_traces(&receiver, &[], Some(home.path()));
    product.spans(700);
    let flushed = in_time(product.telemetry).await;
    assert!(!flushed.is_complete() && flushed.is_safe(), "{flushed}");
    let failure = &flushed.failures()[0];
    assert_eq!((failure.unsent, failure.spooled), (700, 700));
    assert_eq!(failure.reason, "not sent within 2s");
    let stats = &flushed.stats().traces;
    assert_eq!((stats.created, stats.spooled, stats.unsent()), (700, 700, 700));
    assert!(stats.is_balanced());

    receiver.recover();
    let next = Product::of_traces(&receiver, &[], Some(home.path()));
    next.spans(1);
    let flushed = next.telemetry.shutdown(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    assert_eq!(receiver.spans().len(), 701);
    let stats = &flushed.stats().traces;
    assert_eq!((stats.created, stats.recovered, stats.exported, stats.spooled), (1, 700, 701, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_disk_the_rest_is_dropped_and_counted() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail(Fault::Hang);
        let product = Product::new(&receiver, &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)], None);
        product.spans(700);
        product.logs(3);
        let flushed = in_time(product.telemetry).await;
        assert!(!flushed.is_safe());
        let unsent: Vec<_> = flushed.failures().iter().map(|failure| (failure.signal, failure.spooled)).collect();
        assert_eq!(unsent, [(Signal::Traces, 0), (Signal::Logs, 0), (Signal::Metrics, 0)]);
        let stats = flushed.stats();
        assert_eq!((stats.traces.dropped.shutdown, stats.logs.dropped.shutdown), (700, 3), "{protocol}: {stats:?}");
        for stats in [&stats.traces, &stats.metrics, &stats.logs] {
            assert!(stats.is_balanced() && stats.unsent() == 0, "{stats:?}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn with_a_disk_a_collector_that_is_away_is_not_waited_for() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    receiver.close().await;
    let product = Product::of_traces(&receiver, &[], Some(home.path()));
    product.spans(5);
    // Would be over the limit of the whole suite if it were waited for.
    let flushed = product.telemetry.shutdown(Duration::from_secs(3600)).await;
    assert!(flushed.is_safe(), "{flushed}");
    assert!(flushed.failures()[0].reason.contains("Connection refused"), "{flushed}");
    assert_eq!(flushed.to_string().matches("5 spans, 5 of them on disk").count(), 1, "{flushed}");
}

#[tokio::test]
async fn what_a_process_leaves_that_goes_after_the_next_one_came_is_sent_by_that_one() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    receiver.fail(Fault::unavailable(None));
    let [old, new] = [(); 2].map(|()| Product::of_traces(&receiver, &[], Some(home.path())));
    old.spans(5);
    new.spans(3);
    assert_eq!(new.telemetry.flush(BUDGET).await.stats().traces.spooled, 3);
    let flushed = old.telemetry.shutdown(BUDGET).await;
    assert!(flushed.is_safe() && !flushed.is_complete(), "{flushed}");
    receiver.recover();
    // It looks for more when its own backlog has run empty, without a restart.
    assert!(receiver.wait_for(|received| received.spans.len() == 8, LONG).await);
    let flushed = new.telemetry.shutdown(LONG).await;
    let stats = &flushed.stats().traces;
    assert_eq!((stats.created, stats.recovered, stats.exported, stats.spooled), (3, 5, 8, 0), "{flushed}");
    assert!(flushed.is_complete() && stats.is_balanced());
}

#[tokio::test]
async fn a_flush_that_ends_early_loses_nothing() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail(Fault::Hang);
    let product = Product::of_traces(&receiver, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")], None);
    product.spans(5);
    let flushed = product.telemetry.flush(Duration::from_millis(50)).await;
    assert_eq!(flushed.failures()[0].unsent, 5);
    assert_eq!(flushed.stats().traces.dropped.total(), 0);
    receiver.recover();
    let flushed = product.telemetry.flush(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    assert_eq!(receiver.spans().len(), 5);
}

#[tokio::test]
async fn a_shutdown_that_nobody_waits_for_goes_on() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::of_traces(&receiver, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")], None);
    product.spans(5);
    let mut shutdown = Box::pin(product.telemetry.shutdown(LONG));
    assert!(std::future::poll_fn(|context| std::task::Poll::Ready(shutdown.as_mut().poll(context).is_pending())).await);
    drop(shutdown);
    assert!(receiver.wait_for(|received| received.spans.len() == 5, LONG).await);
}

#[tokio::test]
async fn what_comes_after_the_shutdown_is_dropped() {
    let receiver = Receiver::start().await.unwrap();
    let Product { providers, telemetry } = Product::new(&receiver, &[], None);
    let flushed = telemetry.shutdown(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    let before = receiver.requests().len();
    let late = Product { providers, telemetry: Telemetry::new(Providers::default(), None, Instrumentation::process()) };
    late.spans(5);
    late.logs(5);
    assert_eq!(receiver.requests().len(), before);
    assert!(receiver.spans().is_empty() && receiver.logs().is_empty());
}

#[tokio::test]
async fn a_disk_that_cannot_be_used_is_done_without() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let product = Product::of_traces(&receiver, &[], Some(&file));
    product.spans(5);
    assert!(product.telemetry.shutdown(LONG).await.is_complete());
    assert_eq!(receiver.spans().len(), 5);
}
