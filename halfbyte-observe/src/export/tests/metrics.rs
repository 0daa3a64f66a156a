//! Metrics: temporality, bounds, and what the pipeline says of itself.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};

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
async fn an_instrument_that_panics_when_it_is_observed_stops_nothing() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[], None);
    let _gauge = meter(&product).u64_observable_gauge("broken").with_callback(|_| panic!("on purpose")).build();
    product.spans(1);
    product.telemetry.flush(LONG).await;
    product.spans(1);
    product.telemetry.flush(LONG).await;
    assert_eq!(receiver.spans().len(), 2);
}
