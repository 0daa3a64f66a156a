//! Metrics: temporality, bounds, and what the pipeline says of itself.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};

use super::*;
use crate::testing::Metric;

fn meter(product: &Product) -> Meter {
    product.providers.metrics.as_ref().expect("metrics").meter("test")
}

fn collected(receiver: &Receiver, name: &str) -> Vec<Metric> {
    receiver.metrics().into_iter().filter(|metric| metric.name == name).collect()
}

#[tokio::test]
async fn the_temporality_is_the_one_that_is_asked_for() {
    for (preference, counters, up_downs) in [
        ("cumulative", ("cumulative", [5.0, 8.0]), ("cumulative", [5.0, 8.0])),
        ("delta", ("delta", [5.0, 3.0]), ("cumulative", [5.0, 8.0])),
        ("lowmemory", ("delta", [5.0, 3.0]), ("cumulative", [5.0, 8.0])),
    ] {
        let receiver = Receiver::start().await.unwrap();
        let variables = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)];
        let product = Product::new(&receiver, &variables, None);
        let counter = meter(&product).u64_counter("counter").build();
        let up_down = meter(&product).i64_up_down_counter("up_down").build();
        for value in [5, 3] {
            counter.add(value, &[]);
            up_down.add(i64::try_from(value).unwrap(), &[]);
            assert!(product.telemetry.flush(LONG).await.is_complete());
        }
        for (name, (temporality, values)) in [("counter", counters), ("up_down", up_downs)] {
            let collected = collected(&receiver, name);
            let seen: Vec<_> = collected.iter().map(|metric| (metric.temporality, metric.total())).collect();
            assert_eq!(seen, values.map(|value| (temporality, value)), "{preference} {name}");
        }
    }
}

#[tokio::test]
async fn histograms_have_exponential_buckets_where_they_are_asked_for() {
    for (aggregation, bounds) in [("explicit_bucket_histogram", 1), ("base2_exponential_bucket_histogram", 0)] {
        let receiver = Receiver::start().await.unwrap();
        let variables = [("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregation)];
        let product = Product::new(&receiver, &variables, None);
        meter(&product).f64_histogram("duration").with_boundaries(vec![0.5]).build().record(0.7, &[]);
        assert!(product.telemetry.flush(LONG).await.is_complete());
        let metric = receiver.metric("duration").expect("arrived");
        assert_eq!((metric.count(), metric.points[0].bounds.len()), (1, bounds), "{metric:?}");
    }
}

#[tokio::test]
async fn metrics_are_collected_on_the_interval() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[("OTEL_METRIC_EXPORT_INTERVAL", "30")], None);
    meter(&product).u64_counter("counter").build().add(1, &[]);
    let twice = |metrics: &[Metric]| metrics.iter().filter(|metric| metric.name == "counter").count() >= 2;
    assert!(receiver.wait_for(|received| twice(&received.metrics), LONG).await);
    drop(product);
}

#[tokio::test]
async fn what_was_measured_last_is_part_of_the_shutdown() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    meter(&product).u64_counter("counter").build().add(4, &[]);
    assert!(product.telemetry.shutdown(LONG).await.is_complete());
    assert_eq!(receiver.metric("counter").expect("arrived").total(), 4.0);
}

#[tokio::test]
async fn a_metric_has_two_thousand_series_and_one_for_the_rest_and_keeps_its_buckets() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    let histogram = meter(&product).f64_histogram("duration").with_boundaries(vec![0.5, 1.0]).with_unit("s").build();
    (0..3000).for_each(|number| histogram.record(0.7, &[KeyValue::new("number", number)]));
    assert!(product.telemetry.flush(LONG).await.is_complete());
    let metric = receiver.metric("duration").expect("arrived");
    assert_eq!((metric.points.len(), metric.count(), metric.unit.as_str()), (2001, 3000, "s"));
    assert_eq!(metric.points[0].bounds, [0.5, 1.0]);
    let overflow = metric.point(&[("otel.metric.overflow", "true")]).expect("an overflow series");
    assert_eq!(overflow.count, 1000);
}

#[tokio::test]
async fn a_collection_that_would_be_too_large_is_several_requests() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    let histogram = meter(&product).f64_histogram("duration").build();
    let long = "x".repeat(3000);
    (0..1999).for_each(|number| histogram.record(0.7, &[KeyValue::new("number", format!("{long}{number}"))]));
    let flushed = product.telemetry.flush(LONG).await;
    assert!(flushed.is_complete(), "{flushed}");
    let points: usize = collected(&receiver, "duration").iter().map(|metric| metric.points.len()).sum();
    assert_eq!(points, 1999);
    let requests = receiver.requests();
    assert!(requests.len() > 1 && requests.iter().all(|request| request.body_len < 4 << 20), "{}", requests.len());
    let stats = &flushed.stats().metrics;
    assert!(stats.exported >= 1999 && stats.is_balanced());
}

#[tokio::test]
async fn the_pipeline_measures_itself_by_the_semantic_conventions() {
    let receiver = Receiver::start().await.unwrap();
    let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")];
    let product = Product::new(&receiver, &variables, None);
    product.spans(10);
    product.logs(4);
    product.telemetry.flush(LONG).await;
    receiver.fail(crate::testing::Fault::Reject(1));
    product.spans(2);
    assert!(receiver.wait_for(|received| received.spans.len() == 11, LONG).await);
    receiver.recover();
    product.telemetry.flush(LONG).await;
    receiver.clear();
    product.telemetry.flush(LONG).await;

    let metric = |name: &str| receiver.metric(name).unwrap_or_else(|| panic!("{name} is missing"));
    let exported = metric("otel.sdk.exporter.span.exported");
    assert_eq!((exported.kind, exported.is_monotonic, exported.unit.as_str()), ("sum", true, "{span}"));
    let of = |metric: &Metric, attributes: &[(&str, &str)]| metric.point(attributes).map(|point| point.value.clone());
    let failed =
        of(&exported, &[("error.type", "partial_success"), ("otel.component.type", "otlp_http_span_exporter")]);
    assert_eq!(failed.flatten().expect("a series").as_str(), "1");
    assert_eq!(exported.total(), 12.0);
    let port = receiver.address().port().to_string();
    assert!(exported.point(&[("server.address", "127.0.0.1"), ("server.port", &port)]).is_some());
    assert_eq!(metric("otel.sdk.processor.span.processed").total(), 12.0);
    assert_eq!(metric("otel.sdk.processor.span.queue.capacity").total(), 10.0);
    assert_eq!(metric("otel.sdk.processor.span.queue.size").total(), 0.0);
    assert_eq!(metric("otel.sdk.exporter.span.inflight").total(), 0.0);
    let logs = metric("otel.sdk.exporter.log.exported");
    assert_eq!((logs.total(), logs.unit.as_str()), (4.0, "{log_record}"));
    assert!(logs.point(&[("otel.component.type", "otlp_grpc_log_exporter")]).is_some());
    assert!(metric("otel.sdk.exporter.metric_data_point.exported").total() > 10.0);
    assert_eq!(metric("halfbyte.telemetry.spooled").points.len(), 3);
}

#[tokio::test]
async fn an_instrument_that_panics_once_when_it_is_observed_ends_metrics_alone_and_is_told() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    let first = AtomicBool::new(true);
    let panics_once = move |_: &dyn AsyncInstrument<u64>| assert!(!first.swap(false, Ordering::Relaxed), "on purpose");
    let _gauge = meter(&product).u64_observable_gauge("broken").with_callback(panics_once).build();
    for count in 1..=2 {
        product.spans(1);
        let flushed = product.telemetry.flush(LONG).await;
        let failures: Vec<_> = flushed.failures().iter().map(|failure| (failure.signal, failure.unsent)).collect();
        assert_eq!((failures, flushed.is_safe()), (vec![(Signal::Metrics, 0)], false), "{flushed}");
        assert!(flushed.failures()[0].reason.contains("observable instrument panicked"), "{flushed}");
        assert!(flushed.stats().metrics.last_error.as_ref().unwrap().contains("panicked"));
        assert_eq!(receiver.spans().len(), count);
    }
    let flushed = product.telemetry.shutdown(LONG).await;
    assert_eq!(flushed.failures()[0].signal, Signal::Metrics, "{flushed}");
}

#[tokio::test]
async fn an_instrument_that_hangs_when_it_is_observed_costs_metrics_alone() {
    let (receiver, home) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let product = Product::new(&receiver, &[("OTEL_METRIC_EXPORT_INTERVAL", "20")], Some(home.path()));
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (hangs, hung) = std::sync::mpsc::channel();
    let held = std::sync::Mutex::new(held);
    let wait = move |_: &dyn AsyncInstrument<u64>| {
        _ = hangs.send(());
        _ = held.lock().unwrap().recv();
    };
    let _gauge = meter(&product).u64_observable_gauge("hanging").with_callback(wait).build();
    tokio::task::spawn_blocking(move || hung.recv().unwrap()).await.unwrap();
    product.spans(3);
    assert!(receiver.wait_for(|received| received.spans.len() == 3, LONG).await, "spans go on");

    // Longer than a busy machine takes to hear the receiver's answer, or to write what is left to its disk.
    let short = Duration::from_secs(3);
    let flushed = product.telemetry.flush(short).await;
    assert_eq!(flushed.failures().len(), 1, "{flushed}");
    assert!(flushed.failures()[0].reason.contains("does a callback"), "{flushed}");
    receiver.fail(crate::testing::Fault::Hang);
    product.spans(2);
    product.logs(1);
    let flushed = product.telemetry.shutdown(short).await;
    let told: Vec<_> = flushed.failures().iter().map(|told| (told.signal, told.unsent, told.spooled)).collect();
    let metrics = told.iter().find(|told| told.0 == Signal::Metrics).expect("a failure of metrics");
    assert!(told.contains(&(Signal::Traces, 2, 2)) && told.contains(&(Signal::Logs, 1, 1)), "{flushed}");
    assert_eq!(metrics.1, metrics.2, "what was collected before is on disk");
    assert!(!flushed.is_safe());
    drop(let_go);
}

#[tokio::test]
async fn a_flush_that_comes_while_a_collection_is_under_way_has_one_of_its_own() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    meter(&product).u64_counter("counter").build().add(7, &[]);
    let (hangs, hung) = std::sync::mpsc::channel();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let wait = move |_: &dyn AsyncInstrument<u64>| {
        _ = hangs.send(());
        _ = held.lock().unwrap().recv();
    };
    let _gauge = meter(&product).u64_observable_gauge("slow").with_callback(wait).build();
    let (first, second) = tokio::join!(product.telemetry.flush(LONG), async {
        tokio::task::spawn_blocking(move || hung.recv().unwrap()).await.unwrap();
        let second = product.telemetry.flush(LONG);
        tokio::pin!(second);
        // Its order is given, though nobody has waited for it yet.
        let asked = std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending()));
        assert!(asked.await);
        drop(let_go);
        second.await
    });
    assert!(first.is_complete() && second.is_complete(), "{first} {second}");
    assert_eq!(
        collected(&receiver, "counter").len(),
        2,
        "each flush has a collection that began after it was asked for"
    );
}
