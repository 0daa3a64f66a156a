//! The receiver of the test kit, tried with clients that are not ours: tonic's for gRPC, reqwest for HTTP.

use std::io::Write as _;
use std::time::Duration;

use flate2::write::GzEncoder;
use halfbyte_observe::Signal;
use halfbyte_observe::testing::{Fault, Receiver};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use tonic::Code;
use tonic::codec::CompressionEncoding;

fn text(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![text("service.name", "parcel")], ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "labels".into(), version: "7".into(), ..InstrumentationScope::default() })
}

/// Spans with the ids `first..first + count`.
fn spans(first: u8, count: u8) -> ExportTraceServiceRequest {
    let spans = (first..first + count).map(|id| Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        trace_state: "a=1".into(),
        flags: 0x303,
        name: format!("span {id}"),
        kind: span::SpanKind::Client.into(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 3_000,
        attributes: vec![text("http.route", "/labels")],
        dropped_attributes_count: 1,
        events: vec![span::Event { time_unix_nano: 5, name: "exception".into(), ..span::Event::default() }],
        links: vec![span::Link { trace_id: vec![9; 16], span_id: vec![8; 8], flags: 1, ..span::Link::default() }],
        status: Some(Status { message: "broken".into(), code: 2 }),
        ..Span::default()
    });
    let scoped = ScopeSpans { scope: scope(), spans: spans.collect(), schema_url: "https://x/1.40".into() };
    let group = ResourceSpans { resource: resource(), scope_spans: vec![scoped], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn logs() -> ExportLogsServiceRequest {
    let body = Some(AnyValue { value: Some(any_value::Value::StringValue("made a label".into())) });
    let record = LogRecord {
        time_unix_nano: 4,
        severity_number: 13,
        severity_text: "WARN".into(),
        body,
        flags: 1,
        trace_id: vec![1; 16],
        ..LogRecord::default()
    };
    let scoped = ScopeLogs { scope: scope(), log_records: vec![record], ..ScopeLogs::default() };
    let group = ResourceLogs { resource: resource(), scope_logs: vec![scoped], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }
}

fn metric(name: &str, data: metrics::metric::Data) -> metrics::Metric {
    metrics::Metric { name: name.into(), unit: "s".into(), data: Some(data), ..metrics::Metric::default() }
}

fn measured() -> ExportMetricsServiceRequest {
    use metrics::metric::Data;
    let exemplar = metrics::Exemplar {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        value: Some(metrics::exemplar::Value::AsDouble(0.5)),
        ..metrics::Exemplar::default()
    };
    let histogram = metrics::HistogramDataPoint {
        attributes: vec![text("http.route", "/labels")],
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.1],
        exemplars: vec![exemplar],
        min: Some(0.1),
        max: Some(0.7),
        ..metrics::HistogramDataPoint::default()
    };
    let number = |value| metrics::NumberDataPoint {
        value: Some(value),
        time_unix_nano: 9,
        ..metrics::NumberDataPoint::default()
    };
    let sum = metrics::Sum {
        data_points: vec![
            number(metrics::number_data_point::Value::AsInt(4)),
            number(metrics::number_data_point::Value::AsInt(3)),
        ],
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let gauge = metrics::Gauge { data_points: vec![number(metrics::number_data_point::Value::AsDouble(0.5))] };
    let histogram = metrics::Histogram { data_points: vec![histogram], aggregation_temporality: 1 };
    let list = vec![
        metric("took", Data::Histogram(histogram)),
        metric("sent", Data::Sum(sum)),
        metric("load", Data::Gauge(gauge)),
    ];
    let scoped = metrics::ScopeMetrics { scope: scope(), metrics: list, ..metrics::ScopeMetrics::default() };
    let group = metrics::ResourceMetrics {
        resource: resource(),
        scope_metrics: vec![scoped],
        ..metrics::ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }
}

/// Over HTTP, compressed or not.
async fn post(receiver: &Receiver, path: &str, message: &[u8], gzip: bool) -> reqwest::Result<reqwest::Response> {
    let request = reqwest::Client::new().post(format!("{}{path}", receiver.endpoint()));
    let request = request.header("content-type", "application/x-protobuf").header("authorization", "Bearer x");
    let request = match gzip {
        true => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(message).unwrap();
            request.header("content-encoding", "gzip").body(encoder.finish().unwrap())
        }
        false => request.body(message.to_vec()),
    };
    request.send().await
}

async fn post_spans(receiver: &Receiver, first: u8, count: u8) -> reqwest::Result<reqwest::Response> {
    post(receiver, "/v1/traces", &spans(first, count).encode_to_vec(), false).await
}

async fn client(receiver: &Receiver) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(receiver.endpoint()).await.unwrap()
}

#[tokio::test]
async fn all_three_signals_arrive_over_http() {
    for gzip in [false, true] {
        let receiver = Receiver::start().await.unwrap();
        let (spans, metrics, logs) = (spans(1, 2), measured(), logs());
        assert_eq!(post(&receiver, "/v1/traces", &spans.encode_to_vec(), gzip).await.unwrap().status(), 200);
        assert_eq!(post(&receiver, "/v1/metrics", &metrics.encode_to_vec(), gzip).await.unwrap().status(), 200);
        assert_eq!(post(&receiver, "/v1/logs", &logs.encode_to_vec(), gzip).await.unwrap().status(), 200);
        assert_all_arrived(&receiver);
        let requests = receiver.requests();
        assert!(requests.iter().all(|request| !request.is_grpc && request.headers["authorization"] == "Bearer x"));
        assert_eq!(requests[0].headers.contains_key("content-encoding"), gzip);
    }
}

#[tokio::test]
async fn all_three_signals_arrive_over_grpc() {
    for gzip in [false, true] {
        let receiver = Receiver::start().await.unwrap();
        let channel = tonic::transport::Endpoint::new(receiver.endpoint()).unwrap().connect().await.unwrap();
        let mut traces = TraceServiceClient::new(channel.clone());
        let mut metrics = MetricsServiceClient::new(channel.clone());
        let mut logs_client = LogsServiceClient::new(channel);
        if gzip {
            traces = traces.send_compressed(CompressionEncoding::Gzip);
            metrics = metrics.send_compressed(CompressionEncoding::Gzip);
            logs_client = logs_client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = tonic::Request::new(spans(1, 2));
        request.metadata_mut().insert("authorization", "Bearer x".parse().unwrap());
        assert_eq!(traces.export(request).await.unwrap().into_inner().partial_success, None);
        metrics.export(measured()).await.unwrap();
        logs_client.export(logs()).await.unwrap();
        assert_all_arrived(&receiver);
        let requests = receiver.requests();
        assert!(requests[0].is_grpc && requests[0].headers["authorization"] == "Bearer x");
        assert_eq!(requests[0].headers.contains_key("grpc-encoding"), gzip);
    }
}

fn assert_all_arrived(receiver: &Receiver) {
    let span = receiver.spans().named("span 2");
    assert_eq!(span.trace_id, "02".repeat(16));
    assert_eq!((span.kind, span.status, span.status_message.as_str()), ("client", "error", "broken"));
    assert!(span.is_error && span.parent_span_id.is_none());
    assert_eq!((span.flags, span.parent_is_remote, span.trace_state.as_str()), (3, Some(true), "a=1"));
    assert_eq!(span.duration(), Duration::from_micros(2));
    assert_eq!((&span.attributes["http.route"], span.service.as_str()), (&"/labels".into(), "parcel"));
    assert_eq!((span.event("exception").unwrap().time_nanos, span.dropped), (5, [1, 0, 0]));
    assert_eq!((span.links[0].trace_id.as_str(), span.links[0].flags), ("09".repeat(16).as_str(), 1));
    assert_eq!((span.scope.name.as_str(), span.scope.version.as_str()), ("labels", "7"));
    assert_eq!(span.scope.schema_url, "https://x/1.40");

    let log = receiver.logs().only();
    assert_eq!((log.body.as_str(), log.severity.as_str(), log.severity_number), ("made a label", "WARN", 13));
    assert_eq!((log.target.as_str(), log.time_nanos, log.flags), ("labels", 4, 1));
    assert_eq!((log.trace_id.as_deref(), log.span_id), (Some("01".repeat(16).as_str()), None));

    assert_eq!(receiver.metric_names(), ["took", "sent", "load"]);
    let took = receiver.metric("took").unwrap();
    assert_eq!((took.kind, took.temporality, took.unit.as_str(), took.count()), ("histogram", "delta", "s", 3));
    let point = took.point(&[("http.route", "/labels")]).unwrap();
    assert_eq!((point.sum, point.min, point.max), (Some(1.5), Some(0.1), Some(0.7)));
    assert_eq!((&point.bounds[..], &point.buckets[..]), (&[0.1][..], &[1, 2][..]));
    assert_eq!(point.exemplars[0].trace_id.as_deref(), Some("01".repeat(16).as_str()));
    assert!(point.exemplars[0].value == 0.5 && took.point(&[("http.route", "/")]).is_none());
    let sent = receiver.metric("sent").unwrap();
    assert_eq!((sent.kind, sent.temporality, sent.is_monotonic, sent.total()), ("sum", "cumulative", true, 7.0));
    assert!(sent.points[0].value.as_ref().unwrap() == &4);
    assert_eq!(receiver.metrics().named("load").kind, "gauge");

    let requests = receiver.requests();
    let counts: Vec<_> = requests.iter().map(|request| (request.signal, request.items, request.kept)).collect();
    assert_eq!(counts, [(Some(Signal::Traces), 2, 2), (Some(Signal::Metrics), 3, 3), (Some(Signal::Logs), 1, 1)]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_counted() {
    let receiver = Receiver::start().await.unwrap();
    assert_eq!(post(&receiver, "/v1/traces", b"\xff", false).await.unwrap().status(), 400);
    assert_eq!(post(&receiver, "/v1/nothing", b"", false).await.unwrap().status(), 404);
    let json = reqwest::Client::new().post(format!("{}/v1/logs", receiver.endpoint()));
    let json = json.header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(json.status(), 415);
    let kept: Vec<_> = receiver.requests().into_iter().map(|request| (request.path, request.kept)).collect();
    assert_eq!(kept, ["/v1/traces", "/v1/nothing", "/v1/logs"].map(|path| (path.to_owned(), 0)));
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again_only_if_asked_to() {
    let receiver = Receiver::start().await.unwrap();
    let after = Duration::from_millis(1_500);
    for (fault, http, retry_after, code, details) in [
        (Fault::throttled(after), 429, Some("2"), Code::ResourceExhausted, true),
        (Fault::throttled(None), 429, None, Code::ResourceExhausted, false),
        (Fault::unavailable(after), 503, Some("2"), Code::Unavailable, true),
        (Fault::invalid(), 400, None, Code::InvalidArgument, false),
    ] {
        receiver.fail(fault.clone());
        let response = post_spans(&receiver, 1, 1).await.unwrap();
        assert_eq!(response.status(), http);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        let status = client(&receiver).await.export(spans(1, 1)).await.unwrap_err();
        assert_eq!(status.code(), code);
        // google.rpc.RetryInfo of 1 s and 500,000,000 ns.
        let delay = [0x0a, 0x08, 0x08, 0x01, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
        assert_eq!(status.details().ends_with(&delay), details, "{:?}", status.details());
        assert_eq!(receiver.requests().last().unwrap().fault, Some(fault));
    }
    assert!(receiver.spans().is_empty());
    receiver.recover();
    assert_eq!(post_spans(&receiver, 1, 1).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_partial_success_keeps_the_rest() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail(Fault::Reject(2));
    let response = post_spans(&receiver, 1, 5).await.unwrap();
    assert_eq!(response.status(), 200);
    let answer = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 2);
    assert_eq!(receiver.spans().names(), ["span 1", "span 2", "span 3"]);
    let answer = client(&receiver).await.export(spans(10, 1)).await.unwrap().into_inner();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 1, "no more than there were");
    assert_eq!(receiver.spans().len(), 3);
}

#[tokio::test]
async fn faults_are_met_in_their_order_and_then_nothing_goes_wrong() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail_next(2, Fault::throttled(None));
    receiver.fail_next(1, Fault::invalid());
    let mut met = Vec::new();
    for id in 0..4 {
        met.push(post_spans(&receiver, id, 1).await.unwrap().status().as_u16());
    }
    assert_eq!(met, [429, 429, 400, 200]);
}

#[tokio::test]
async fn a_hanging_receiver_reads_and_never_answers() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail_next(2, Fault::Hang);
    let (over_http, mut client) = (post_spans(&receiver, 1, 1), client(&receiver).await);
    tokio::select! {
        _ = over_http => panic!("it answered over HTTP"),
        _ = client.export(spans(2, 1)) => panic!("it answered over gRPC"),
        read = receiver.wait_for(|received| received.requests.len() == 2, Duration::from_secs(20)) => assert!(read),
    }
    assert!(receiver.spans().is_empty());
    client.export(spans(3, 1)).await.unwrap();
    assert_eq!(receiver.spans().only().name, "span 3");
}

#[tokio::test]
async fn a_slow_receiver_keeps_at_once_what_it_answers_late() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail_next(1, Fault::Slow(Duration::from_secs(3_600)));
    tokio::select! {
        _ = post_spans(&receiver, 1, 1) => panic!("it answered"),
        kept = receiver.wait_for(|received| received.spans.len() == 1, Duration::from_secs(20)) => assert!(kept),
    }
    receiver.fail_next(1, Fault::Slow(Duration::from_millis(1)));
    assert_eq!(post_spans(&receiver, 1, 1).await.unwrap().status(), 200);
    let received = receiver.received();
    assert_eq!((received.duplicate_spans, received.duplicate_requests), (1, 1));
    assert_eq!(post_spans(&receiver, 1, 2).await.unwrap().status(), 200);
    let received = receiver.received();
    assert_eq!((received.duplicate_spans, received.duplicate_requests), (2, 1));
    receiver.clear();
    assert_eq!(post_spans(&receiver, 1, 2).await.unwrap().status(), 200);
    assert_eq!(receiver.received().duplicate_spans, 0);
}

#[tokio::test]
async fn an_answer_can_break_off_in_the_middle() {
    let receiver = Receiver::start().await.unwrap();
    receiver.fail_next(2, Fault::Cut);
    let response = post_spans(&receiver, 1, 1).await.unwrap();
    assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(64)));
    assert!(response.bytes().await.is_err());
    let error = client(&receiver).await.export(spans(2, 1)).await.unwrap_err();
    assert_ne!(error.code(), Code::Ok);
    assert_eq!(receiver.spans().names(), ["span 1", "span 2"], "it was kept all the same");
    assert_eq!(post_spans(&receiver, 3, 1).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_closed_receiver_refuses_connections_until_it_is_open_again_on_the_same_port() {
    let receiver = Receiver::start().await.unwrap();
    // A connection that is kept open must not go on to be served.
    let mut kept = client(&receiver).await;
    kept.export(spans(1, 1)).await.unwrap();
    for _ in 0..2 {
        receiver.close().await;
        assert!(post_spans(&receiver, 2, 1).await.unwrap_err().is_connect());
        assert!(kept.export(spans(2, 1)).await.is_err());
        receiver.open().await.unwrap();
        receiver.open().await.unwrap();
        assert_eq!(post_spans(&receiver, 3, 1).await.unwrap().status(), 200);
    }
    assert_eq!(receiver.spans().names(), ["span 1", "span 3", "span 3"]);
}
