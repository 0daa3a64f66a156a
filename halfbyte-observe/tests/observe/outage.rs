//! What the console says of a collector that is away, and that nobody else hears of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use halfbyte_core::config::Config;
use halfbyte_observe::testing::Receiver;

use crate::child::{assert_success, json_lines, settings};

/// For the child; it is on the console some 12 seconds after its start, and the collector is back some seconds later.
const WORK: Duration = Duration::from_secs(14);
const AWAY: Duration = Duration::from_secs(18);

/// Logs and traces all the while, then flushes.
pub async fn play(config: &Config) {
    let telemetry = halfbyte_observe::init(settings(config)).unwrap();
    let start = Instant::now();
    while start.elapsed() < WORK {
        tracing::info_span!("work").in_scope(|| tracing::debug!("working"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while !telemetry.flush(Duration::from_secs(1)).await.is_complete() {
        assert!(start.elapsed() < Duration::from_secs(90), "{:?}", telemetry.stats());
    }
    let stats = telemetry.shutdown(Duration::from_secs(60)).await.stats().clone();
    assert!(stats.traces.exported > 50 && stats.traces.exported == stats.traces.created, "{stats:?}");
    assert!(stats.traces.is_balanced() && stats.metrics.is_balanced() && stats.logs.is_balanced(), "{stats:?}");
}

#[tokio::test]
async fn the_console_says_once_that_a_collector_is_away_and_once_that_it_is_back() {
    let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let endpoint = format!("http://me:s3cret@{address}");
    let variables = [
        ("HALFBYTE_ENV", "staging"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ];
    let (output, receiver) = tokio::join!(crate::child::play("outage", &variables), async {
        tokio::time::sleep(AWAY).await;
        Receiver::bind(address).await.unwrap()
    });
    assert_success(&output);
    let lines = json_lines(&output);
    let said: Vec<_> = lines.iter().filter(|line| line["target"] == "halfbyte::telemetry").collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!((said[0]["level"].as_str(), said[1]["level"].as_str()), (Some("WARN"), Some("INFO")), "{said:?}");
    let text = said[0]["message"].as_str().unwrap();
    assert!(text.starts_with("telemetry has not been delivered for 1"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert_eq!(said[0]["fields"]["address"], format!("http://{address}"));
    assert!(said[0]["fields"]["waiting"].as_u64().unwrap() > 0, "{said:?}");
    assert_eq!(said[0]["fields"]["dropped"], 0);
    assert!(receiver.logs().iter().all(|log| log.target != "halfbyte::telemetry"), "{:?}", receiver.logs());
    assert!(!receiver.spans().is_empty());
    let everything = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&everything).contains("s3cret"));
}
