//! All three signals through a real collector, over both protocols.

use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use halfbyte::core::config::Config;
use halfbyte::core::lifecycle::Phase;
use halfbyte::observe::testing::Receiver;
use halfbyte::{Contract, Platform};
use tokio::task::JoinSet;

const ALONE: &str = "HB_TEST_COLLECTOR_ALONE";
const COMPRESSION: &str = "HB_TEST_COLLECTOR_COMPRESSION";
const METRICS: [&str; 11] = [
    "http.server.request.duration",
    "http.server.active_requests",
    "halfbyte.check.age",
    "halfbyte.check.ready",
    "halfbyte.billing.backlog",
    "halfbyte.billing.conflicts",
    "halfbyte.billing.late",
    "halfbyte.billing.overage",
    "halfbyte.billing.reclaimed",
    "halfbyte.billing.refused",
    "halfbyte.billing.stranded",
];

/// Telemetry is set up once a process, and other tests of this binary start products as well: these have processes of their
/// own, one after the other, since the collector knows one receiver.
#[test]
fn traces_metrics_and_logs_arrive_behind_the_collector_over_both_protocols() {
    for protocol in ["http/protobuf", "grpc"] {
        for compression in ["none", "gzip"] {
            let mut alone = Command::new(std::env::current_exe().unwrap());
            alone.args(["--exact", "otlp_collector::alone", "--nocapture"]);
            let output = alone.env(ALONE, protocol).env(COMPRESSION, compression).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let complained = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("1 passed"), "{protocol}: {said}\n{complained}");
        }
    }
}

/// What the test does, in its process; nothing in another.
#[tokio::test]
async fn alone() {
    let Ok(protocol) = std::env::var(ALONE) else { return };
    let compression = std::env::var(COMPRESSION).unwrap();
    let receiver = Receiver::bind(crate::server("HB_TEST_OTLP_SINK_ADDR").parse().unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home").display().to_string();
    let collector = crate::server(if protocol == "grpc" { "HB_TEST_OTLP_GRPC" } else { "HB_TEST_OTLP_HTTP" });
    let config = Config::parse([
        ("HALFBYTE_HOME", home.as_str()),
        ("HALFBYTE_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.as_str()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", compression.as_str()),
    ]);
    let platform = Platform::builder("parcel", Contract::V1)
        .catalog("catalog.toml", "[products.parcel]\ntitle = \"Shipping labels\"")
        .config(config.unwrap())
        .start()
        .await
        .unwrap();
    let address = platform.address();
    let life = platform.lifecycle().clone();
    let routes = Router::new().route("/orders/{id}", get(async || tracing::info!(order = 7, "an order is shown")));
    let mut serving = JoinSet::new();
    serving.spawn(platform.serve(routes));
    life.reached(Phase::Ready).await;

    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = reqwest::Client::new().get(format!("http://{address}/orders/7?token=hunter2"));
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    assert_eq!(request.header("traceparent", parent).send().await.unwrap().status(), 200);
    // A drain sends what is held.
    life.enter(Phase::LameDuck);
    serving.join_next().await.unwrap().unwrap().unwrap();

    let arrived = receiver.wait_for(
        |received| {
            received.spans.iter().any(|span| span.trace_id == trace_id && span.name == "GET /orders/{id}")
                && METRICS.iter().all(|metric| received.metric_names.iter().any(|name| name == metric))
                && received
                    .logs
                    .iter()
                    .any(|log| log.body.contains("an order is shown") && log.trace_id.as_deref() == Some(trace_id))
        },
        Duration::from_secs(10),
    );
    let arrived = arrived.await;
    let (spans, logs) = (receiver.spans(), receiver.logs());
    assert!(arrived, "spans: {spans:#?}\nmetrics: {:?}\nlogs: {logs:#?}", receiver.metric_names());
    assert!(!format!("{spans:?}{logs:?}").contains("hunter2"), "a query string went out");
}
