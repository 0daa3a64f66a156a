//! Shutdown keeps its budget and says what was lost, whatever the collector does. The product has one thread.

use std::net::{Ipv4Addr, TcpListener};

use halfbyte_observe::testing::Receiver;

use crate::child::{assert_success, hanging, play};

#[tokio::test]
async fn a_collector_that_hangs_does_not_keep_a_process_from_ending() {
    let (_listener, endpoint) = hanging();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OBSERVE_BUDGET_MS", "700")];
    let output = play("shutdown", &variables).await;
    assert_success(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    for signal in ["traces", "metrics", "logs"] {
        assert!(said.contains(&format!("FAILED {signal}: not sent within 700ms")), "{said}");
    }
}

#[tokio::test]
async fn what_a_dead_collector_did_not_take_is_named_with_the_cause() {
    // Bound and closed again: nobody listens there.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let endpoint = format!("http://{address}");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OBSERVE_BUDGET_MS", "3000")];
    let output = play("shutdown", &variables).await;
    assert_success(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    for signal in ["traces", "metrics", "logs"] {
        let line = said.lines().find(|line| line.starts_with(&format!("FAILED {signal}: "))).expect(signal);
        assert!(line.contains("Connection refused"), "{line}");
    }
}

#[tokio::test]
async fn with_nowhere_to_send_to_there_is_nothing_to_lose() {
    let output = play("shutdown", &[("OBSERVE_BUDGET_MS", "2000")]).await;
    assert_success(&output);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("FAILED"));
}

#[tokio::test]
async fn telemetry_that_is_dropped_does_not_hang() {
    let (_listener, endpoint) = hanging();
    assert_success(&play("drop", &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await);
}

#[tokio::test]
async fn telemetry_that_is_dropped_outside_of_a_runtime_sends_what_is_queued() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    assert_success(&play("drop-outside", &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await);
    assert_eq!(receiver.spans().len(), 2);
}

#[tokio::test]
async fn what_is_logged_after_shutdown_goes_to_the_console_alone() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    let output = play("serve", &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    assert_success(&output);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.trim_end().ends_with(": the end"), "nothing complains that it came late: {log}");
    assert!(receiver.logs().iter().all(|log| log.body != "the end"));
}
