//! What the pipeline says of itself, by the semantic conventions for OpenTelemetry SDK metrics.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::destination::{Destination, Protocol};
use super::queue::Books;
use super::stats::SignalStats;
use crate::Signal;

/// A reason, and how many items are lost for it.
type Reason = (&'static str, fn(&SignalStats) -> u64);

/// What is lost before it was ever sent, and what is lost later: `error.type` of the processor and of the exporter.
const OF_PROCESSOR: [Reason; 2] =
    [("queue_full", |stats| stats.dropped.queue_full), ("already_shutdown", |stats| stats.dropped.shutdown)];
const OF_EXPORTER: [Reason; 5] = [
    ("rejected", |stats| stats.dropped.rejected),
    ("partial_success", |stats| stats.dropped.partial_success),
    ("backlog_full", |stats| stats.dropped.backlog_full),
    ("corrupt", |stats| stats.dropped.corrupt),
    ("encode", |stats| stats.dropped.encode),
];

/// Observes `books` with every collection.
pub(super) fn register(provider: &SdkMeterProvider, signal: Signal, to: &Destination, books: &Arc<dyn Books>) {
    let meter = provider.meter("halfbyte-observe");
    let (item, processor) = match signal {
        Signal::Traces => ("span", Some("batching_span_processor")),
        Signal::Metrics => ("metric_data_point", None),
        Signal::Logs => ("log", Some("batching_log_processor")),
    };
    let unit = match signal {
        Signal::Traces => "{span}",
        Signal::Metrics => "{data_point}",
        Signal::Logs => "{log_record}",
    };
    if let Some(kind) = processor {
        let names =
            ["processed", "queue.size", "queue.capacity"].map(|name| format!("otel.sdk.processor.{item}.{name}"));
        of_processor(&meter, names, unit, component(kind), books);
    }
    let exporter = match to.protocol {
        Protocol::Http => "otlp_http",
        Protocol::Grpc => "otlp_grpc",
    };
    let mut attributes = component(&format!("{exporter}_{}_exporter", item.split('_').next().unwrap_or(item)));
    attributes.extend(to.url.host_str().map(|host| KeyValue::new("server.address", host.to_owned())));
    let port = to.url.port_or_known_default();
    attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    let names = ["exported", "inflight"].map(|name| format!("otel.sdk.exporter.{item}.{name}"));
    of_exporter(&meter, names, unit, attributes, books);

    let spooled = books.clone();
    let of_signal = [KeyValue::new("halfbyte.signal", signal.as_str())];
    meter
        .i64_observable_up_down_counter("halfbyte.telemetry.spooled")
        .with_unit("{item}")
        .with_description("What waits in the backlog for the collector to come back")
        .with_callback(move |now| now.observe(whole(spooled.stats().spooled), &of_signal))
        .build();
}

fn of_processor(meter: &Meter, names: [String; 3], unit: &'static str, own: Vec<KeyValue>, books: &Arc<dyn Books>) {
    let [processed, size, capacity] = names;
    let (of_processed, of_size, of_capacity) = (books.clone(), books.clone(), books.clone());
    let (own_size, own_capacity) = (own.clone(), own.clone());
    let failed = OF_PROCESSOR.map(|(reason, count)| (with_error(&own, reason), count));
    meter
        .u64_observable_counter(processed)
        .with_unit(unit)
        .with_description("What has passed the processor, or was dropped by it")
        .with_callback(move |now| {
            let stats = of_processed.stats();
            let failures = stats.dropped.queue_full + stats.dropped.shutdown;
            now.observe(stats.created.saturating_sub(stats.queued + failures), &own);
            observe_failures(&stats, &failed, |count, attributes| now.observe(count, attributes));
        })
        .build();
    meter
        .i64_observable_up_down_counter(size)
        .with_unit(unit)
        .with_description("What is in the queue")
        .with_callback(move |now| now.observe(whole(of_size.stats().queued), &own_size))
        .build();
    meter
        .i64_observable_up_down_counter(capacity)
        .with_unit(unit)
        .with_description("What the queue holds at most")
        .with_callback(move |now| {
            now.observe(i64::try_from(of_capacity.capacity()).unwrap_or(i64::MAX), &own_capacity);
        })
        .build();
}

fn of_exporter(meter: &Meter, names: [String; 2], unit: &'static str, own: Vec<KeyValue>, books: &Arc<dyn Books>) {
    let [exported, in_flight] = names;
    let (of_exported, of_in_flight) = (books.clone(), books.clone());
    let own_in_flight = own.clone();
    let failed = OF_EXPORTER.map(|(reason, count)| (with_error(&own, reason), count));
    meter
        .u64_observable_counter(exported)
        .with_unit(unit)
        .with_description("What the collector took, or what was given up")
        .with_callback(move |now| {
            let stats = of_exported.stats();
            now.observe(stats.exported, &own);
            observe_failures(&stats, &failed, |count, attributes| now.observe(count, attributes));
        })
        .build();
    meter
        .i64_observable_up_down_counter(in_flight)
        .with_unit(unit)
        .with_description("What is with the exporter and neither taken nor given up, the backlog included")
        .with_callback(move |now| {
            let stats = of_in_flight.stats();
            now.observe(whole(stats.in_flight + stats.spooled), &own_in_flight);
        })
        .build();
}

type Failed<const N: usize> = [(Vec<KeyValue>, fn(&SignalStats) -> u64); N];

/// A series for a failure begins with the first one.
fn observe_failures<const N: usize>(stats: &SignalStats, failed: &Failed<N>, observe: impl Fn(u64, &[KeyValue])) {
    for (attributes, count) in failed {
        let count = count(stats);
        if count > 0 {
            observe(count, attributes);
        }
    }
}

fn component(kind: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("otel.component.type", kind.to_owned()),
        KeyValue::new("otel.component.name", format!("{kind}/0")),
    ]
}

fn with_error(own: &[KeyValue], reason: &'static str) -> Vec<KeyValue> {
    own.iter().cloned().chain([KeyValue::new("error.type", reason)]).collect()
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
