//! What operators and probes ask the admin listener.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use halfbyte::core::config::Config;
use halfbyte::core::lifecycle::{Check, Phase};
use halfbyte::observe::opentelemetry::global;
use halfbyte::observe::opentelemetry::metrics::AsyncInstrument;
use halfbyte::observe::testing::{Point, Receiver};
use halfbyte::{Contract, Error, Platform};
use prometheus_parse::{Sample, Scrape, Value as Measured};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::start;

const CATALOG: &str = include_str!("../../examples/catalog.toml");
const SOON: Duration = Duration::from_secs(20);

struct Product {
    platform: Platform,
    serving: JoinSet<Result<(), Error>>,
    http: reqwest::Client,
}

impl Product {
    async fn start(home: &Path, variables: &[(&str, &str)]) -> Self {
        let platform = start::start_with(home, CATALOG, variables).await.unwrap();
        let product = Self::serve(platform);
        product.platform.lifecycle().reached(Phase::Ready).await;
        product
    }

    fn serve(platform: Platform) -> Self {
        let slow = async || tokio::time::sleep(Duration::from_secs(1)).await;
        let routes = Router::new().route("/", get("hello")).route("/slow", get(slow));
        let mut serving = JoinSet::new();
        serving.spawn(platform.clone().serve(routes));
        Self { platform, serving, http: reqwest::Client::new() }
    }

    async fn get(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.platform.address());
        self.http.get(url).send().await.unwrap().status().as_u16()
    }

    fn admin(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.platform.admin_address()))
    }

    async fn ask(&self, path: &str) -> (u16, Value) {
        let answer = self.admin(path).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn metrics(&self) -> Vec<Sample> {
        let answer = self.admin("/metrics").send().await.unwrap();
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap().to_owned());
        let page = answer.text().await.unwrap();
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"), "{page}");
        Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap().samples
    }

    async fn stop(mut self) {
        self.platform.lifecycle().enter(Phase::LameDuck);
        self.serving.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn startup_is_over_when_it_has_been_ready_once_and_says_before_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start_with(folder.path(), CATALOG, &[("HALFBYTE_LAME_DUCK", "1")]).await.unwrap();
    let there = Arc::new(AtomicBool::new(false));
    let probed = there.clone();
    platform.lifecycle().health().register(move || {
        let ready = probed.load(Ordering::Relaxed);
        Some(Check { name: "test.slow".into(), ready, state: "cold", age: None, detail: None })
    });
    let product = Product::serve(platform);
    let waits = async {
        loop {
            // The admin listener comes before the public one, and both after `serve` was called.
            if product.admin("/startupz").send().await.is_ok() {
                let (status, body) = product.ask("/startupz").await;
                assert_eq!(
                    (status, &body["started"], &body["phase"]),
                    (503, &false.into(), &"starting".into()),
                    "{body}"
                );
                if body["waits_for"] == serde_json::json!(["test.slow"]) {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.unwrap();
    there.store(true, Ordering::Relaxed);
    product.platform.lifecycle().reached(Phase::Ready).await;
    let (status, body) = product.ask("/startupz").await;
    assert_eq!((status, &body["started"], &body["waits_for"]), (200, &true.into(), &Value::Array(vec![])), "{body}");

    // What is not ready later is no matter of starting, and neither is the drain.
    there.store(false, Ordering::Relaxed);
    assert_eq!((product.ask("/readyz").await.0, product.ask("/startupz").await.0), (503, 200));
    product.platform.lifecycle().enter(Phase::LameDuck);
    assert_eq!((product.ask("/readyz").await.0, product.ask("/startupz").await.0), (503, 200));
}

#[tokio::test]
async fn a_process_that_is_stopped_before_it_was_ready_has_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start_with(folder.path(), CATALOG, &[("HALFBYTE_LAME_DUCK", "1")]).await.unwrap();
    platform.lifecycle().enter(Phase::LameDuck);
    let mut product = Product::serve(platform);
    // It has nobody to wait for, so that it may be gone before it answers anything.
    while product.serving.try_join_next().is_none() {
        if let Ok(answer) = product.admin("/startupz").send().await {
            assert_eq!(answer.status(), 503);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(product.platform.lifecycle().entered(Phase::Ready), None);
}

#[tokio::test]
async fn readiness_names_every_part_and_the_phases_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let schema = "namespace Parcel { entity Label { tenant: HalfByte::Tenant }; action read appliesTo { principal: [HalfByte::User], resource: [Label] }; }";
    std::fs::write(policies.join("schema.cedarschema"), schema).unwrap();
    std::fs::write(policies.join("parcel.cedar"), "permit(principal, action, resource);").unwrap();
    let plans = folder.path().join("plans.toml");
    std::fs::write(&plans, CATALOG).unwrap();
    let builder = Platform::builder("parcel", Contract::V1)
        .config(start::config(folder.path(), &[("HALFBYTE_API_KEYS_URL", "embedded:")]).unwrap())
        .policies_from(halfbyte::identity::access::Policies::folder(&policies))
        .catalog_source(halfbyte::billing::CatalogSource::File(plans));
    let platform = builder.start().await.unwrap();
    let _secret = platform.secrets().get::<secrecy::SecretString>("smtp-password");
    let _tokens = platform.calls("clinic", &[]).await.unwrap();
    let product = Product::serve(platform);
    product.platform.lifecycle().reached(Phase::Ready).await;
    let (_, body) = product.ask("/readyz").await;
    let checks = body["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "identity.embedded",
            "identity.api-keys",
            "billing.catalogue",
            "billing.accounts",
            "billing.store",
            "access.policies",
            "secret.smtp-password",
            "secret.clinic-client-secret",
            "identity.token parcel for clinic",
        ]
    );
    let missing = checks.iter().find(|check| check["name"] == "secret.smtp-password").unwrap();
    assert_eq!((&missing["ready"], &missing["state"]), (&false.into(), &"cold".into()), "{missing}");
    assert!(missing["detail"].as_str().is_some_and(|why| why.contains("does not hold it")), "{missing}");
    for check in checks {
        for key in ["name", "ready", "state", "age_seconds", "detail"] {
            assert!(check.get(key).is_some(), "{key} is missing in {check}");
        }
    }
    let phases = body["life"]["phases"].as_array().unwrap().iter();
    let phases: Vec<_> = phases.map(|entered| entered["phase"].as_str().unwrap()).collect();
    assert_eq!((phases, body["phase"].as_str()), (vec!["starting", "ready"], Some("ready")));
    assert_eq!(body["life"]["since"], body["life"]["phases"][1]["entered"]);
    let [starting, ready] = &body["life"]["steps"].as_array().unwrap()[..] else { panic!("{}", body["life"]) };
    assert_eq!((&starting["step"], &starting["budget_seconds"]), (&"starting".into(), &10.0.into()));
    assert!(starting["took_seconds"].is_f64() && ready["took_seconds"].is_null(), "{starting} {ready}");
    let since: jiff::Timestamp = body["life"]["since"].as_str().unwrap().parse().unwrap();
    let age = product.platform.lifecycle().clock().now().duration_since(since);
    assert!((0..600).contains(&age.as_secs()), "{age:?}");
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is_and_head_with_no_body() {
    let folder = tempfile::tempdir().unwrap();
    let product = Product::start(folder.path(), &[]).await;
    let (status, body) = product.ask("/healthz").await;
    assert_eq!(status, 404);
    assert_eq!(body["paths"], serde_json::json!(["/livez", "/startupz", "/readyz", "/metrics", "/manifest"]));
    for path in body["paths"].as_array().unwrap() {
        let url = format!("http://{}{}", product.platform.admin_address(), path.as_str().unwrap());
        let (head, whole) =
            (product.http.head(&url).send().await.unwrap(), product.http.get(&url).send().await.unwrap());
        assert_eq!(
            (head.status(), &head.headers()["content-type"]),
            (whole.status(), &whole.headers()["content-type"])
        );
        assert_ne!(whole.status(), 405, "{path}");
        assert!(head.bytes().await.unwrap().is_empty());
        assert_eq!(product.http.post(&url).send().await.unwrap().status(), 405);
    }
}

#[tokio::test]
async fn who_holds_many_connections_and_says_nothing_keeps_probes_out_only_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let product = Product::start(folder.path(), &[]).await;
    let address = product.platform.admin_address();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let probe = product.http.get(format!("http://{address}/livez")).send();
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), probe).await.expect("in time").unwrap().status(), 200);
}

/// Telemetry is set up once in a process: this test binary again, with a role to play.
async fn play(role: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "admin::the_product", "--nocapture", "--test-threads", "1"]);
    command.env_clear().env("ADMIN_ROLE", role).envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn plays(role: &str, variables: &[(&str, &str)]) {
    let output = play(role, variables).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("PLAYED"), "stdout:\n{stdout}\nstderr:\n{stderr}");
}

/// Does nothing unless it was started with a role.
#[test]
fn the_product() {
    let config = Config::from_env().unwrap();
    let Some(role) = config.other.get("ADMIN_ROLE") else { return };
    let role = role.to_owned();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        match role.as_str() {
            "counts" => counts(folder.path(), &config).await,
            "hangs" => hangs(folder.path()).await,
            "disabled" => {
                let product = Product::start(folder.path(), &[("OTEL_SDK_DISABLED", "true")]).await;
                let (status, body) = product.ask("/metrics").await;
                assert_eq!(status, 404);
                assert!(body["error"].as_str().unwrap().contains("OTEL_SDK_DISABLED"), "{body}");
            }
            other => panic!("no such role: {other}"),
        }
    });
    println!("PLAYED");
}

fn requests(samples: &[Sample], status: &str) -> f64 {
    let is = |sample: &&Sample| sample.labels.get("http_response_status_code") == Some(status);
    let of = samples.iter().filter(|sample| sample.metric == "http_server_request_duration_seconds").filter(is);
    of.map(|sample| match &sample.value {
        Measured::Histogram(buckets) => buckets.last().map_or(0.0, |bucket| bucket.count),
        other => panic!("not a histogram: {other:?}"),
    })
    .sum()
}

async fn counts(home: &Path, config: &Config) {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    let mut variables = vec![("OTEL_METRIC_EXPORT_INTERVAL", "50"), ("HALFBYTE_LAME_DUCK", "0")];
    if config.other.get("ADMIN_COLLECTOR").is_some() {
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
    }
    for name in ["OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] {
        variables.extend(config.other.get(name).map(|value| (name, value)));
    }
    let product = Product::start(home, &variables).await;
    for _ in 0..20 {
        assert_eq!(product.get("/").await, 200);
    }
    assert_eq!(product.get("/nothing").await, 404);
    let samples = product.metrics().await;
    assert_eq!((requests(&samples, "200"), requests(&samples, "404")), (20.0, 1.0));
    let ready = |sample: &&Sample| sample.metric == "halfbyte_check_ready";
    assert!(samples.iter().filter(ready).count() >= 3, "{samples:?}");
    let gauge = |name: &str| samples.iter().find(|sample| sample.metric == name).map(|sample| sample.value.clone());
    assert_eq!(gauge("halfbyte_load_shed_limit"), Some(Measured::Gauge(1024.0)));
    assert!(gauge("halfbyte_load_shed_in_flight").is_some(), "{samples:?}");
    let target = samples.iter().find(|sample| sample.metric == "target_info").unwrap();
    assert_eq!(target.labels.get("service_name"), Some("parcel"));
    let open = product.admin("/metrics").header("accept", "application/openmetrics-text; version=1.0.0").send().await;
    let open = open.unwrap();
    assert_eq!(open.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().await.unwrap().ends_with("# EOF\n"));

    // Through the drain.
    let url = format!("http://{}/slow", product.platform.address());
    let slow = product.http.get(url).send();
    let drain = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        product.platform.lifecycle().enter(Phase::LameDuck);
        product.platform.lifecycle().reached(Phase::Draining).await;
        assert_eq!(requests(&product.metrics().await, "200"), 20.0);
        let (status, body) = product.ask("/readyz").await;
        assert_eq!((status, &body["phase"]), (503, &"draining".into()));
        assert_eq!((product.ask("/livez").await.0, product.ask("/startupz").await.0), (200, 200));
    };
    let (slow, ()) = tokio::join!(slow, drain);
    assert_eq!(slow.unwrap().status(), 200);
    product.stop().await;

    let received = receiver.metric("http.server.request.duration");
    match config.other.get("ADMIN_COLLECTOR") {
        Some("cumulative") => {
            let metric = received.unwrap();
            let of = |status| {
                let is =
                    |point: &&Point| point.attributes.get("http.response.status_code").is_some_and(|own| own == status);
                metric.points.iter().filter(is).map(|point| point.count).sum::<u64>()
            };
            assert_eq!((of("200"), of("404")), (21, 1));
        }
        // Each measurement once, over all that was sent.
        Some("delta") => {
            let all = receiver.metrics();
            let sent = all.iter().filter(|metric| metric.name == "http.server.request.duration");
            assert_eq!(sent.map(|metric| metric.count()).sum::<u64>(), 22);
        }
        _ => assert!(received.is_none() && receiver.metric_names().is_empty(), "{received:?}"),
    }
}

/// A callback of the product that does not return: 503 for who scrapes, and nothing for anybody else.
async fn hangs(home: &Path) {
    let product = Product::start(home, &[]).await;
    let hang = |_: &dyn AsyncInstrument<u64>| std::thread::sleep(Duration::from_secs(3600));
    global::meter("product").u64_observable_gauge("hangs").with_callback(hang).build();
    let scrape = product.admin("/metrics").send();
    let others = async {
        for _ in 0..20 {
            assert_eq!((product.get("/").await, product.ask("/readyz").await.0), (200, 200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (scrape, ()) = tokio::join!(scrape, others);
    let scrape = scrape.unwrap();
    assert_eq!(scrape.status(), 503);
    let body: Value = serde_json::from_slice(&scrape.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"], "metrics were not collected within 5s");
    product.stop().await;
}

#[tokio::test]
async fn a_scrape_counts_what_the_collector_is_sent() {
    plays("counts", &[("ADMIN_COLLECTOR", "cumulative")]).await;
}

#[tokio::test]
async fn a_scrape_counts_all_of_it_where_the_collector_is_sent_differences() {
    let delta = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta");
    plays("counts", &[("ADMIN_COLLECTOR", "delta"), delta]).await;
}

#[tokio::test]
async fn a_scrape_needs_no_collector_and_no_exporter() {
    plays("counts", &[]).await;
    plays("counts", &[("ADMIN_COLLECTOR", "none"), ("OTEL_METRICS_EXPORTER", "none")]).await;
}

#[tokio::test]
async fn a_callback_that_hangs_costs_the_scrape_alone() {
    plays("hangs", &[]).await;
}

#[tokio::test]
async fn without_an_sdk_there_are_no_metrics_and_the_answer_says_why() {
    plays("disabled", &[]).await;
}
