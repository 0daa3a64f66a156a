//! A request through the full stack (request id, observe, catch panic, drain gate, load shed, deadline, authenticate, scope,
//! entitle, meter) against the same handler on bare axum, in one process and without sockets.
//!
//! Budget: the full stack adds less than 60 µs and less than 120 allocations a request. Measured twice: as a laptop runs it,
//! and with every request traced and exported over OTLP (`stack.traced`).

use std::alloc::System;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use halfbyte::core::config::Config;
use halfbyte::identity::embedded::ClientSpec;
use halfbyte::observe::testing::Receiver;
use halfbyte::{Contract, Platform, Principal};
use halfbyte_benches::{count, median, ratio, side_by_side};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CATALOG: &str = r#"
    [products.parcel]
    title = "Shipping labels"
    [meters.labels]
    product = "parcel"
    unit = "label"
    [features.labels]
    product = "parcel"
    meter = "labels"
    [plans.business]
    features.labels = { limit = 1000000000, per = "month" }
"#;

const ROUNDS: usize = 60;
const BATCH: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(endpoint) = std::env::args().skip_while(|argument| argument != "--traced").nth(1) {
        return measure("stack.traced", Some(&endpoint));
    }
    measure("stack.full", None)?;
    // Telemetry is set up once a process; the receiver must not be in the one whose allocations are counted.
    let runtime = Runtime::new()?;
    let receiver = runtime.block_on(Receiver::start())?;
    let endpoint = receiver.endpoint();
    let status = Command::new(std::env::current_exe()?)
        .args(["--traced", &endpoint])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .status()?;
    count("stack.traced.spans_received", receiver.spans().len());
    if status.success() { Ok(()) } else { Err("the traced run failed".into()) }
}

fn measure(name: &str, endpoint: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let home = folder.path().join("home").display().to_string();
    let mut variables = vec![
        ("HALFBYTE_HOME", home.as_str()),
        ("HALFBYTE_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "error"),
    ];
    variables.extend(endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
    let config = Config::parse(variables)?;
    let (platform, token) = runtime.block_on(async {
        let builder = Platform::builder("parcel", Contract::V1).catalog("catalog.toml", CATALOG).config(config);
        let platform = builder.start().await?;
        let token = sign_in(&platform).await?;
        Ok::<_, Box<dyn std::error::Error>>((platform, token))
    })?;

    let guard = platform.require(&["labels:write"]).feature("labels")?;
    let full = Router::new().route("/labels", post(handler).layer(guard)).layer(platform.stack());
    let bare = Router::new().route("/labels", post(async || "a label"));
    let request = || {
        let request = Request::post("/labels").header("authorization", format!("Bearer {token}"));
        request.body(Body::empty()).expect("a request")
    };
    let call = |router: &Router| runtime.block_on(answer(router.clone(), request()));

    for _ in 0..2_000 {
        assert_eq!(call(&full), StatusCode::OK, "the full stack does not let the request through");
        assert_eq!(call(&bare), StatusCode::OK);
    }
    let pair = side_by_side(ROUNDS, BATCH, || call(&full), || call(&bare));
    ratio(&format!("{name}.vs.bare"), pair);
    let added = pair.ours.saturating_sub(pair.theirs);
    count(&format!("{name}.added_nanoseconds"), added.as_nanos());
    let added = allocations(|| call(&full)).saturating_sub(allocations(|| call(&bare)));
    count(&format!("{}.allocations", if endpoint.is_some() { name } else { "stack" }), added);
    runtime.block_on(platform.billing().flush(Duration::from_secs(30)))?;
    Ok(())
}

async fn handler(_caller: Principal) -> &'static str {
    "a label"
}

async fn answer(router: Router, request: Request<Body>) -> StatusCode {
    let response = router.oneshot(request).await.expect("infallible");
    let status = response.status();
    response.into_body().collect().await.expect("a body in memory");
    status
}

/// The median of the allocations of one operation: what others do in between now and then does not count.
fn allocations<T>(mut operation: impl FnMut() -> T) -> usize {
    let one = |_| {
        let region = Region::new(ALLOCATOR);
        std::hint::black_box(operation());
        region.change().allocations
    };
    median((0..1_001).map(one).collect())
}

async fn sign_in(platform: &Platform) -> Result<String, Box<dyn std::error::Error>> {
    let issuer = platform.identity().embedded().ok_or("no embedded issuer")?;
    let client = ClientSpec::new("bench", "acme".parse()?).scopes(["labels:write"]).audiences(["parcel"]);
    let secret = issuer.register(client).await?;
    let customers = platform.billing().customers();
    customers.create(&"acme".parse()?).await?;
    customers.subscribe(&"acme".parse()?, "business").await?;
    let form = format!("grant_type=client_credentials&client_id=bench&client_secret={}", secret.expose_secret());
    let request = Request::post("/oauth/token").body(Body::from(form))?;
    let response = Router::new().layer(platform.stack()).oneshot(request).await?;
    let answer: serde_json::Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    Ok(answer["access_token"].as_str().ok_or("no token")?.to_owned())
}
