//! The product that is measured: a route that anybody may call, one that asks for a scope, and one for a metered feature too.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use halfbyte::core::config::Config;
use halfbyte::identity::embedded::ClientSpec;
use halfbyte::{Contract, Platform, Principal, Public, Routes};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;
use tower::{Layer as _, ServiceExt as _};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

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

/// Embedded, with its state under `folder`; with its telemetry to `collector`, or nowhere.
pub async fn start(folder: &Path, collector: Option<&str>) -> Result<Platform, Failure> {
    let home = folder.join("home").display().to_string();
    let mut variables = vec![
        ("HALFBYTE_HOME", home.as_str()),
        ("HALFBYTE_LISTEN", "127.0.0.1:0"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "error"),
    ];
    variables.extend(collector.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
    let builder = Platform::builder("parcel", Contract::V1).catalog("catalog.toml", CATALOG);
    Ok(builder.config(Config::parse(variables)?).start().await?)
}

pub fn routes(platform: &Platform) -> Result<Routes, Failure> {
    let writes = || platform.require(&["labels:write"]);
    let metered = writes().feature("labels")?;
    let routes = platform.routes().route("GET /labels", Public, async || "a label");
    let routes = routes.route("PUT /labels", writes(), async |_caller: Principal| "a label");
    Ok(routes.route("POST /labels", metered, async |_caller: Principal| "a label"))
}

/// What is asked of each of them.
#[derive(Clone, Copy)]
pub enum Asks {
    /// Nothing: the layers alone.
    Nothing,
    /// A token with a scope.
    Scope,
    /// A token with a scope, and one unit of what the plan has, which is in the journal before the answer leaves.
    Unit,
}

impl Asks {
    pub const ALL: [(&str, Self); 3] = [("public", Self::Nothing), ("protected", Self::Scope), ("full", Self::Unit)];

    pub fn method(self) -> Method {
        match self {
            Self::Nothing => Method::GET,
            Self::Scope => Method::PUT,
            Self::Unit => Method::POST,
        }
    }
}

/// A token of a customer who may make labels.
pub async fn sign_in(platform: &Platform) -> Result<String, Failure> {
    let issuer = platform.identity().embedded().ok_or("no embedded issuer")?;
    let client = ClientSpec::new("bench", "acme".parse()?).scopes(["labels:write"]).audiences(["parcel"]);
    let secret = issuer.register(client).await?;
    let customers = platform.billing().customers();
    customers.create(&"acme".parse()?).await?;
    customers.subscribe(&"acme".parse()?, "business").await?;
    let form = format!("grant_type=client_credentials&client_id=bench&client_secret={}", secret.expose_secret());
    let request = Request::post("/oauth/token").body(Body::from(form))?;
    let response = platform.stack().layer(Router::new()).oneshot(request).await?;
    let answer: serde_json::Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    Ok(answer["access_token"].as_str().ok_or("no token")?.to_owned())
}

/// What a client gets there.
pub async fn get(platform: &Platform, path: &str) -> Result<String, Failure> {
    let response = platform.stack().layer(Router::new()).oneshot(Request::get(path).body(Body::empty())?).await?;
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
}

/// It and the same handler on bare axum, called one request at a time without sockets.
pub struct InProcess {
    runtime: Runtime,
    platform: Platform,
    token: String,
    pub ours: Router,
    pub bare: Router,
}

impl InProcess {
    pub fn new(folder: &Path, collector: Option<&str>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let platform = runtime.block_on(start(folder, collector))?;
        let token = runtime.block_on(sign_in(&platform))?;
        // As they are served.
        let ours = Router::from(routes(&platform)?).layer(platform.stack()).with_state(());
        let bare = Router::new().route("/labels", any(async || "a label")).with_state(());
        Ok(Self { runtime, platform, token, ours, bare })
    }

    /// The whole answer of one of the two.
    pub fn call(&self, router: &Router, asks: Asks) -> StatusCode {
        let request = Request::builder().method(asks.method()).uri("/labels");
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let request = request.body(Body::empty()).expect("a request");
        self.runtime.block_on(async {
            let response = router.clone().oneshot(request).await.expect("infallible");
            let status = response.status();
            response.into_body().collect().await.expect("a body in memory");
            status
        })
    }

    /// Lets the caches fill.
    pub fn warm(&self, asks: Asks) {
        for _ in 0..2_000 {
            assert_eq!(self.call(&self.ours, asks), StatusCode::OK, "the full stack does not let the request through");
            assert_eq!(self.call(&self.bare, asks), StatusCode::OK);
        }
    }

    /// Waits until all that was used is in the store.
    pub fn settle(&self) -> Result<(), Failure> {
        let all = async {
            while self.platform.billing().stats().backlog > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        Ok(self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), all).await })?)
    }
}
