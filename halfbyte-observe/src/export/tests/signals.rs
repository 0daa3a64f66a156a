//! What arrives when all goes well.

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, SpanContext, TraceFlags, TraceState, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData, SpanProcessor as _};

use super::*;
use crate::export::{Pipeline, Sampled};

#[tokio::test]
async fn all_three_signals_arrive_over_both_protocols_compressed_or_not_with_their_headers() {
    for protocol in PROTOCOLS {
        for compression in ["none", "gzip"] {
            let receiver = Receiver::start().await.unwrap();
            let product = Product::new(
                &receiver,
                &[
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x-tenant=acme"),
                ],
                None,
            );
            product.spans(3);
            product.logs(2);
            let meter = product.providers.metrics.as_ref().unwrap().meter("test");
            meter.u64_counter("parcels").build().add(7, &[KeyValue::new("size", "small")]);
            let flushed = product.telemetry.flush(LONG).await;
            assert!(flushed.is_complete(), "{protocol} {compression}: {flushed}");

            assert_eq!(receiver.spans().names(), ["span 0", "span 1", "span 2"]);
            assert_eq!(receiver.spans()[0].service, "parcel");
            let logs = receiver.logs();
            assert_eq!((logs[0].body.as_str(), logs[1].body.as_str()), ("record 0", "record 1"));
            assert_eq!((logs[0].target.as_str(), logs[0].service.as_str()), ("parcel::labels", "parcel"));
            let parcels = receiver.metric("parcels").expect("arrived");
            assert_eq!((parcels.total(), parcels.temporality), (7.0, "cumulative"));

            let requests = receiver.requests();
            assert_eq!(requests.len(), 3, "{requests:?}");
            for request in requests {
                assert_eq!(request.is_grpc, protocol == "grpc");
                assert_eq!(request.headers["authorization"], "Bearer s3cret");
                assert_eq!(request.headers["x-tenant"], "acme");
                assert!(request.headers["user-agent"].starts_with("halfbyte-observe/"), "{:?}", request.headers);
                let name = if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" };
                let encoding = request.headers.get(name).map(String::as_str);
                assert_eq!(encoding, (compression == "gzip").then_some("gzip"), "{protocol}");
            }
            let stats = flushed.stats();
            assert_eq!((stats.traces.created, stats.traces.exported), (3, 3));
            assert_eq!((stats.logs.created, stats.logs.exported), (2, 2));
            assert!(stats.metrics.created > 0 && stats.metrics.exported == stats.metrics.created);
            assert_eq!(stats.metrics.last_error, None);
        }
    }
}

#[tokio::test]
async fn a_signal_has_an_endpoint_and_a_protocol_of_its_own() {
    let (all, own) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    let endpoint = own.endpoint();
    let variables =
        [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")];
    let product = Product::new(&all, &variables, None);
    product.spans(1);
    product.logs(1);
    assert!(product.telemetry.shutdown(LONG).await.is_complete());
    assert_eq!((all.spans().len(), all.logs().len()), (1, 0));
    assert_eq!((own.spans().len(), own.logs().len()), (0, 1));
}

#[tokio::test]
async fn batches_are_as_large_as_the_variables_say_and_are_sent_without_a_flush() {
    let receiver = Receiver::start().await.unwrap();
    // The delay is long: only a whole batch is a reason to send.
    let variables = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let product = Product::of_traces(&receiver, &variables, None);
    product.spans(35);
    assert!(receiver.wait_for(|received| received.spans.len() == 30, LONG).await);
    let sizes: Vec<_> = receiver.requests().iter().map(|request| request.items).collect();
    assert_eq!(sizes, [10, 10, 10]);
    assert_eq!(product.telemetry.stats().traces.queued, 5);
    assert!(product.telemetry.flush(LONG).await.is_complete());
    assert_eq!(receiver.spans().len(), 35);
}

#[tokio::test]
async fn what_is_no_whole_batch_is_sent_after_the_delay() {
    let receiver = Receiver::start().await.unwrap();
    let product = Product::new(&receiver, &[("OTEL_BLRP_SCHEDULE_DELAY", "20")], None);
    product.spans(1);
    product.logs(1);
    assert!(receiver.wait_for(|received| received.spans.len() == 1 && received.logs.len() == 1, LONG).await);
    drop(product);
}

#[tokio::test]
async fn a_request_that_would_be_too_large_is_several() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        let product = Product::of_traces(&receiver, &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)], None);
        let tracer = product.providers.traces.as_ref().unwrap().provider.tracer("test");
        for _ in 0..5 {
            let mut span = tracer.start("large");
            span.set_attribute(KeyValue::new("text", "x".repeat(1_500_000)));
        }
        let flushed = product.telemetry.flush(LONG).await;
        assert!(flushed.is_complete(), "{flushed}");
        assert_eq!(receiver.spans().len(), 5);
        let sizes: Vec<_> = receiver.requests().iter().map(|request| (request.items, request.body_len)).collect();
        assert!(sizes.len() == 3 && sizes.iter().all(|(_, bytes)| *bytes < 4 << 20), "{sizes:?}");
    }
}

fn one_span() -> SpanData {
    let spans = InMemorySpanExporter::default();
    let sdk = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let mut span = sdk.tracer("test").start("x");
    span.set_attribute(KeyValue::new("http.route", "/labels/{id}"));
    drop(span);
    spans.get_finished_spans().unwrap().remove(0)
}

fn queue_to(receiver: &Receiver) -> Pipeline {
    let endpoint = receiver.endpoint();
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())];
    let plan = Plan::read(&Config::parse(variables).unwrap().other).unwrap();
    Pipeline::start(&plan, &Resource::builder_empty().build(), &Chain::default(), None).unwrap()
}

#[tokio::test]
async fn spans_that_are_recorded_and_not_sampled_are_not_exported_unless_somebody_says_so() {
    let receiver = Receiver::start().await.unwrap();
    let pipeline = queue_to(&receiver);
    let (queue, sampled) = (pipeline.spans.unwrap(), one_span());
    let context = &sampled.span_context;
    let (trace, span) = (context.trace_id(), context.span_id());
    let unsampled = SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::default());
    let recorded = SpanData { span_context: unsampled, ..sampled.clone() };
    let created = || pipeline.export.stats().traces.created;
    Sampled(queue.clone()).on_end(recorded.clone());
    assert_eq!(created(), 0);
    Sampled(queue.clone()).on_end(sampled);
    queue.on_end(recorded);
    assert_eq!(created(), 2);
}

#[tokio::test]
async fn ending_a_span_costs_no_allocation_in_the_queue() {
    let receiver = Receiver::start().await.unwrap();
    let queue = queue_to(&receiver).spans.unwrap();
    let many = vec![one_span(); 100];
    let allocated = allocation_counter::measure(|| many.into_iter().for_each(|span| queue.on_end(span)));
    assert_eq!(allocated.count_total, 0);
}
