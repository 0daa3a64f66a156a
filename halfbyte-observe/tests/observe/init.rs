//! `init` in a real process, and what arrives at a real receiver.

use std::time::Duration;

use halfbyte_observe::testing::Receiver;

use crate::child::{assert_success, json_lines, play};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn with_an_endpoint_all_three_signals_arrive() {
    let receiver = Receiver::start().await.unwrap();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=halfbyte".into()),
        ("HALFBYTE_ENV", "staging".into()),
    ];
    let output = play("serve", &variables.each_ref().map(|(key, value)| (*key, value.as_str()))).await;
    assert_success(&output);

    // All of it is here: shutdown ends when what was queued has been sent.
    let spans = receiver.spans();
    let server = spans.iter().find(|span| span.kind == "server").expect("a server span");
    assert_eq!((server.name.as_str(), server.service.as_str()), ("GET", "parcel"));
    assert_eq!(server.resource["service.version"], "1.2.3");
    assert_eq!(server.resource["deployment.environment.name"], "staging");
    assert_eq!(server.resource["service.namespace"], "halfbyte");
    assert!(server.resource.contains_key("service.instance.id"));
    assert!(server.duration() > Duration::ZERO && server.parent_span_id.is_none() && !server.is_error);
    let print = spans.iter().find(|span| span.name == "print").expect("the product's span");
    assert_eq!(print.parent_span_id.as_ref(), Some(&server.span_id));
    assert_eq!(print.attributes["copies"], "2");
    assert_eq!(spans.len(), 2, "sending telemetry is not traced: {spans:?}");

    assert!(receiver.metric_names().contains(&"http.server.request.duration".to_owned()));

    let logs = receiver.logs();
    let made = logs.iter().find(|log| log.body == "made a label").expect("the product's event");
    assert_eq!(made.trace_id.as_ref(), Some(&server.trace_id));
    assert_eq!(made.span_id.as_ref(), Some(&print.span_id));
    assert_eq!((made.severity.as_str(), made.attributes["weight"].as_str()), ("INFO", "1.5"));
    let access = logs.iter().find(|log| log.body.starts_with("GET /labels 200 ")).expect("the access log");
    assert_eq!(access.span_id.as_ref(), Some(&server.span_id));
    assert_eq!(access.attributes["request_id"].len(), 36);
}

#[tokio::test]
async fn only_the_signal_that_is_named_arrives() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = format!("{}/v1/traces", receiver.endpoint());
    assert_success(&play("serve", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint)]).await);
    assert!(receiver.wait_for(|received| !received.spans.is_empty(), SOON).await);
    assert!(receiver.metric_names().is_empty() && receiver.logs().is_empty());
}

#[tokio::test]
async fn a_disabled_sdk_sends_nothing_and_logs_on() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    let variables = [("OTEL_SDK_DISABLED", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let output = play("serve", &variables).await;
    assert_success(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("made a label"));
    assert!(receiver.spans().is_empty() && receiver.metric_names().is_empty() && receiver.logs().is_empty());
}

#[tokio::test]
async fn outside_of_development_the_log_is_json_lines_that_name_the_trace() {
    let output = play("serve", &[("HALFBYTE_ENV", "staging")]).await;
    assert_success(&output);
    let lines = json_lines(&output);
    let find = |start: &str| {
        let found = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.starts_with(start)));
        found.unwrap_or_else(|| panic!("no line starts with {start:?}: {lines:?}"))
    };
    let (made, access) = (find("made a label"), find("GET /labels 200 "));
    assert_eq!(made["trace_id"].as_str().map(str::len), Some(32));
    assert_eq!(made["trace_id"], access["trace_id"]);
    assert_ne!(made["span_id"], access["span_id"], "the product's own span is the innermost one");
    assert_eq!(
        (&made["trace_flags"], &made["product"], &made["version"]),
        (&"03".into(), &"parcel".into(), &"1.2.3".into()),
        "sampled, with a random trace id"
    );
    assert_eq!(made["fields"]["weight"], 1.5);
    assert_eq!(made["spans"][0]["name"], "print");
    assert_eq!(made["spans"][0]["fields"]["copies"], 2);
    assert_eq!((made["level"].as_str(), access["target"].as_str()), (Some("INFO"), Some("halfbyte::access")));
    assert!(made["timestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 27), "{made:?}");
}

#[tokio::test]
async fn in_development_the_log_is_for_people_and_leaves_standard_output_alone() {
    let output = play("serve", &[("HALFBYTE_ENV", "development")]).await;
    assert_success(&output);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains(" INFO halfbyte::access: GET /labels 200 "), "{log}");
    assert!(!log.contains('\x1b'), "no colours where there is no terminal: {log}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("made a label"));
}

#[tokio::test]
async fn rust_log_says_what_is_logged_and_takes_nothing_from_traces() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    let output = play("serve", &[("RUST_LOG", "warn"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert_success(&output);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("made a label"));
    assert!(receiver.logs().is_empty());
    assert_eq!(receiver.spans().len(), 2);
}

#[tokio::test]
async fn the_log_at_its_loudest_does_not_feed_itself() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    assert_success(&play("serve", &[("RUST_LOG", "trace"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await);
    let logs = receiver.logs();
    assert!(logs.iter().any(|log| log.target == "halfbyte::access"), "{logs:?}");
    // While the last logs are on their way, those of sending the spans before them would be.
    let senders = ["hyper", "hyper_util", "opentelemetry", "reqwest"];
    let of_senders: Vec<_> =
        logs.iter().filter(|log| senders.iter().any(|sender| log.target.starts_with(sender))).collect();
    assert!(of_senders.is_empty(), "{of_senders:?}");
    assert_eq!(receiver.spans().len(), 2);
}

#[tokio::test]
async fn a_second_init_is_an_error() {
    assert_success(&play("init-twice", &[]).await);
}

#[tokio::test]
async fn a_logger_of_the_product_keeps_its_records_and_telemetry_works() {
    let receiver = Receiver::start().await.unwrap();
    let output = play("logger", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())]).await;
    assert_success(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("OWN of the log crate"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        log.contains("made a label") && log.contains("WARN halfbyte::telemetry: this process has a logger"),
        "{log}"
    );
    assert_eq!(receiver.spans().len(), 2);
}

#[tokio::test]
async fn another_subscriber_is_an_error_that_leaves_nothing_behind() {
    assert_success(&play("subscriber", &[]).await);
}

#[tokio::test]
async fn a_protocol_that_is_not_there_is_refused_by_name() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let output = play("refused", &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).await;
    assert_success(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("REFUSED OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\" is not supported"), "{said}");
}
