//! A product in a process of its own, since `init` is once a process: this test binary again, with a role to play.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use halfbyte_core::ProductId;
use halfbyte_core::config::Config;
use halfbyte_observe::{RequestIdLayer, ServerLayer, Settings};
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt as _};

use crate::kit::{Body, finish, get};

/// Plays `role` with `variables`, off the runtime, since it takes its time.
pub async fn play(role: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::the_product", "--nocapture", "--test-threads", "1"]);
    // Nothing of the developer's own environment: no collector, no filter, no proxy.
    let home = tempfile::tempdir().unwrap();
    command.env_clear().env("HALFBYTE_HOME", home.path()).env("OBSERVE_ROLE", role).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    drop(home);
    output
}

/// The lines of JSON among what the test harness prints besides.
pub fn json_lines(output: &Output) -> Vec<BTreeMap<String, serde_json::Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub fn assert_success(output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "stdout:\n{stdout}\nstderr:\n{stderr}");
}

/// Does nothing unless it was started with a role.
#[test]
fn the_product() {
    let config = Config::from_env().unwrap();
    let Some(role) = config.other.get("OBSERVE_ROLE") else { return };
    // The harness has left its line open.
    println!();
    // One thread: whoever blocks it stops all of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if role == "drop-outside" {
        let telemetry = halfbyte_observe::init(settings(&config)).unwrap();
        runtime.block_on(one_request());
        drop(runtime);
        return drop(telemetry);
    }
    runtime.block_on(async {
        match role {
            "serve" => serve(&config).await,
            "init-twice" => init_twice(&config),
            "logger" => with_a_logger(&config).await,
            "subscriber" => with_a_subscriber(&config),
            "shutdown" => shutdown(&config).await,
            "drop" => drop_in_a_runtime(&config).await,
            "refused" => refused(&config),
            "unfit" => unfit(&config),
            "panic" => crate::panics::play(&config).await,
            "outbound" => crate::outbound::play(&config).await,
            "outage" => crate::outage::play(&config).await,
            other => panic!("no such role: {other}"),
        }
    });
}

pub fn settings(config: &Config) -> Settings {
    Settings::new(&ProductId::new("parcel").unwrap(), "1.2.3", config)
}

async fn handle(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let span = tracing::info_span!("print", copies = 2);
    span.in_scope(|| tracing::info!(weight = 1.5, "made a label"));
    Ok(Response::new(Body::from("done")))
}

async fn one_request() {
    let layers = ServiceBuilder::new().layer(RequestIdLayer::new()).layer(ServerLayer::new());
    finish(layers.service_fn(handle).oneshot(get("/labels")).await.unwrap()).await;
}

async fn serve(config: &Config) {
    let telemetry = halfbyte_observe::init(settings(config)).unwrap();
    one_request().await;
    let flushed = telemetry.shutdown(Duration::from_secs(10)).await;
    assert!(flushed.is_complete(), "{flushed}");
    tracing::info!("the end");
}

fn init_twice(config: &Config) {
    let _telemetry = halfbyte_observe::init(settings(config)).unwrap();
    let error = halfbyte_observe::init(settings(config)).unwrap_err();
    assert!(error.is_already_initialized(), "{error:?}");
    assert!(error.to_string().contains("call init once"), "{error}");
}

/// The product has a logger of its own already.
async fn with_a_logger(config: &Config) {
    struct Own;
    impl log::Log for Own {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            println!("OWN {}", record.args());
        }

        fn flush(&self) {}
    }
    log::set_logger(&Own).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let telemetry = halfbyte_observe::init(settings(config)).unwrap();
    one_request().await;
    log::info!("of the log crate");
    let flushed = telemetry.shutdown(Duration::from_secs(10)).await;
    assert!(flushed.is_complete(), "{flushed}");
}

/// The product has a subscriber of its own already.
fn with_a_subscriber(config: &Config) {
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    let error = halfbyte_observe::init(settings(config)).unwrap_err();
    assert!(error.is_already_initialized() && error.to_string().contains("a tracing subscriber already"), "{error}");
    // Nothing is left behind: the records of the log crate have nowhere to go.
    assert_eq!(log::max_level(), log::LevelFilter::Off);
}

/// Shuts down within a budget while the only thread of the runtime keeps ticking.
async fn shutdown(config: &Config) {
    let telemetry = halfbyte_observe::init(settings(config)).unwrap();
    one_request().await;
    let budget = Duration::from_millis(config.other.get("OBSERVE_BUDGET_MS").unwrap().parse().unwrap());
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut longest = Duration::ZERO;
    let ticking = async {
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    };
    let flushed = tokio::select! {
        flushed = telemetry.shutdown(budget) => flushed,
        () = ticking => unreachable!(),
    };
    // Loose, for a busy machine; blocked by the SDK it would be 5 seconds.
    let took = started.elapsed();
    assert!(took < budget + Duration::from_secs(2), "took {took:?}");
    assert!(longest < Duration::from_secs(1), "the runtime stood still for {longest:?}");
    for failure in flushed.failures() {
        println!("FAILED {}: {}", failure.signal, failure.reason);
    }
}

async fn drop_in_a_runtime(config: &Config) {
    let telemetry = halfbyte_observe::init(settings(config)).unwrap();
    one_request().await;
    let started = Instant::now();
    drop(telemetry);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

fn refused(config: &Config) {
    let error = halfbyte_observe::init(settings(config)).unwrap_err();
    assert!(error.is_configuration(), "{error:?}");
    println!("REFUSED {error}");
    // Nothing was set up, so that a right configuration still can be.
    drop(halfbyte_observe::init(settings(&Config::parse([("RUST_LOG", "warn")]).unwrap())).unwrap());
}

/// The configuration is right, and the machine is not.
fn unfit(config: &Config) {
    let error = halfbyte_observe::init(settings(config)).unwrap_err();
    assert!(!error.is_configuration(), "{error:?}");
    println!("UNFIT {error}");
}

/// A collector that takes connections and never answers.
pub fn hanging() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}
