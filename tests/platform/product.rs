//! A small product on real sockets: what its clients and its operators see.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte::core::lifecycle::{Check, Phase};
use halfbyte::identity::embedded::ClientSpec;
use halfbyte::{Error, Platform, Principal, TenantId};
use reqwest::{RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::start;

const CATALOG: &str = include_str!("../../examples/catalog.toml");

struct Product {
    platform: Platform,
    serving: JoinSet<Result<(), Error>>,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Product {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = platform(folder.path(), variables).await;
        let labels = platform.require(&["labels:write"]).feature("labels").unwrap();
        let fails = platform.require(&["labels:write"]).feature("labels").unwrap();
        let routes = Router::new()
            .route(
                "/",
                get(async |caller: Option<Principal>| caller.map_or("nobody".to_owned(), |c| c.subject().to_owned())),
            )
            .route("/labels", post(async |caller: Principal| caller.tenant().to_string()).layer(labels))
            .route("/role", get("let through").layer(platform.require(&[]).role("admin")))
            .route("/strong", get("let through").layer(platform.require(&[]).acr(&["phr"])))
            .route("/recent", get("let through").layer(platform.require(&[]).max_age(Duration::from_secs(60))))
            .route(
                "/tenants/{tenant}/labels",
                post("let through").layer(
                    platform.require(&[]).tenant_in_path("/tenants/{tenant}").feature("labels").expect("a feature"),
                ),
            )
            .route("/fails", post(async || http::StatusCode::INTERNAL_SERVER_ERROR).layer(fails))
            .route("/panics", get(async || -> String { panic!("on purpose") }))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(500)).await));
        let mut serving = JoinSet::new();
        serving.spawn(platform.clone().serve(routes));
        platform.lifecycle().reached(Phase::Ready).await;
        Self { platform, serving, http: reqwest::Client::new(), _folder: folder }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("http://{}{path}", self.platform.address()))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("http://{}{path}", self.platform.address()))
    }

    fn admin(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("http://{}{path}", self.platform.admin_address()))
    }

    /// A token for a client of `tenant`, which has `plan`.
    async fn token(&self, tenant: &str, plan: &str, scopes: &[&str]) -> String {
        let tenant: TenantId = tenant.parse().unwrap();
        let customers = self.platform.billing().customers();
        customers.create(&tenant).await.unwrap();
        customers.subscribe(&tenant, plan).await.unwrap();
        self.token_with(tenant, &format!("scope={}", scopes.join("+"))).await
    }

    async fn token_with(&self, tenant: TenantId, asked: &str) -> String {
        let client = ClientSpec::new("app", tenant).scopes(["labels:write", "labels:read"]).audiences(["parcel"]);
        let secret = self.platform.identity().embedded().unwrap().register(client).await.unwrap();
        let form = format!("grant_type=client_credentials&{asked}");
        let request = self.post("/oauth/token").basic_auth("app", Some(secret.expose_secret()));
        let answer = json(request.body(form).send().await.unwrap()).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn used(&self, tenant: &str) -> u64 {
        let usage = self.platform.billing().usage_of(&tenant.parse().unwrap()).await.unwrap();
        usage.iter().map(|usage| u64::try_from(usage.used).unwrap()).sum()
    }
}

async fn platform(folder: &Path, variables: &[(&str, &str)]) -> Platform {
    start::start_with(folder, CATALOG, variables).await.unwrap()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn refused(response: Response, status: u16, slug: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(response.status(), status);
    let problem = json(response).await;
    assert_eq!(problem["type"], format!("urn:halfbyte:problem:{slug}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], request_id);
    assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_asks_for_a_role_a_sign_in_and_the_tenant_in_the_path() {
    let product = Product::start().await;
    let token = product.token("acme", "starter", &["labels:read"]).await;
    for (path, status, problem) in
        [("/role", 403, "forbidden"), ("/strong", 401, "step-up-required"), ("/recent", 401, "step-up-required")]
    {
        let answer = product.get(path).bearer_auth(&token).send().await.unwrap();
        assert_eq!((path, answer.status().as_u16()), (path, status));
        assert_eq!(json(answer).await["type"], format!("urn:halfbyte:problem:{problem}"));
    }
    for (path, status) in [("/tenants/globex/labels", 403), ("/tenants/acme/labels", 200)] {
        let answer = product.post(path).bearer_auth(&token).send().await.unwrap();
        assert_eq!((path, answer.status().as_u16()), (path, status));
    }
}

#[tokio::test]
async fn a_public_route_takes_anybody_but_not_a_bad_token() {
    let product = Product::start().await;
    assert_eq!(product.get("/").send().await.unwrap().text().await.unwrap(), "nobody");
    let token = product.token("acme", "starter", &["labels:read"]).await;
    assert_eq!(product.get("/").bearer_auth(&token).send().await.unwrap().text().await.unwrap(), "app");
    refused(product.get("/").bearer_auth("x.y.z").send().await.unwrap(), 401, "invalid-token").await;
}

#[tokio::test]
async fn a_guarded_route_asks_in_order_for_a_principal_a_scope_and_a_feature() {
    let product = Product::start().await;
    let response = product.post("/labels").send().await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let metadata = format!("http://{}/.well-known/oauth-protected-resource", product.platform.address());
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{metadata}\""));
    refused(response, 401, "unauthenticated").await;
    let document = json(product.http.get(metadata).send().await.unwrap()).await;
    assert_eq!(document["resource"], format!("http://{}", product.platform.address()));

    // Who follows the metadata gets a token that is good here.
    let asked = format!("resource={}", document["resource"].as_str().unwrap());
    let found = product.token_with("acme".parse().unwrap(), &asked).await;
    assert_eq!(product.get("/").bearer_auth(found).send().await.unwrap().text().await.unwrap(), "app");

    let reader = product.token("acme", "starter", &["labels:read"]).await;
    let response = product.post("/labels").bearer_auth(reader).send().await.unwrap();
    assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("scope=\"labels:write\""));
    refused(response, 403, "insufficient-scope").await;

    let writer = product.token("acme", "starter", &["labels:write"]).await;
    let response = product.post("/labels").bearer_auth(writer).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, "acme".to_owned()));
}

#[tokio::test]
async fn only_what_succeeds_is_counted_and_each_key_once() {
    let product = Product::start().await;
    let token = product.token("acme", "starter", &["labels:write"]).await;
    let call = |path: &str, key: &str| product.post(path).bearer_auth(&token).header("idempotency-key", key).send();
    for _ in 0..2 {
        assert_eq!(call("/fails", "a").await.unwrap().status(), 500);
        assert_eq!(call("/labels", "b").await.unwrap().status(), 200);
    }
    assert_eq!(product.used("acme").await, 1);
    assert_eq!(call("/labels", "c").await.unwrap().status(), 200);
    assert_eq!(call("/labels", "d").await.unwrap().status(), 200);
    let response = call("/labels", "e").await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(
        response.headers()["ratelimit-policy"].to_str().unwrap().split(';').take(2).collect::<Vec<_>>(),
        ["\"labels\"", "q=3"]
    );
    refused(response, 429, "quota-exhausted").await;
    assert_eq!(call("/labels", "b").await.unwrap().status(), 200, "a retry of what was counted");
    assert_eq!(product.used("acme").await, 3);
}

#[tokio::test]
async fn a_grpc_request_is_refused_in_grpc() {
    let product = Product::start().await;
    let response = product.post("/labels").header("content-type", "application/grpc").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "16");
    assert_eq!(response.headers()["problem-type"], "urn:halfbyte:problem:unauthenticated");
}

#[tokio::test]
async fn a_panic_is_refused_and_the_connection_goes_on() {
    let product = Product::start().await;
    let problem = refused(product.get("/panics").send().await.unwrap(), 500, "internal").await;
    assert!(!problem.to_string().contains("on purpose"));
    assert_eq!(product.get("/").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_request_id_of_the_client_is_kept_when_it_is_well_formed() {
    let product = Product::start().await;
    for (sent, kept) in [("order-7", true), ("a b", false), ("x\"y", false)] {
        let response = product.get("/").header("x-request-id", sent).send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"] == sent, kept, "{sent}");
    }
}

#[tokio::test]
async fn a_trace_is_continued_from_the_networks_that_are_configured_and_from_nobody_else() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (variables, continued) in [
        (&[][..], true),
        (&[("HALFBYTE_TRACE_NETWORKS", "127.0.0.1")], true),
        (&[("HALFBYTE_TRACE_NETWORKS", "none")], false),
        (&[("HALFBYTE_TRACE_NETWORKS", "10.0.0.0/8")], false),
        // A proxy is believed about addresses, not about traces.
        (&[("HALFBYTE_TRACE_NETWORKS", "none"), ("HALFBYTE_TRUSTED_PROXIES", "127.0.0.1")], false),
    ] {
        let product = Product::start_with(variables).await;
        let request = product.post("/labels").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        let problem = refused(request.send().await.unwrap(), 401, "unauthenticated").await;
        assert_eq!(problem["trace_id"] == trace, continued, "{variables:?}: {problem}");
        assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn operators_see_whether_it_is_ready_and_what_it_is() {
    let product = Product::start().await;
    assert_eq!(product.admin("/livez").send().await.unwrap().status(), 200);
    let ready = product.admin("/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let checks = json(ready).await["checks"].clone();
    let names: Vec<_> = checks.as_array().unwrap().iter().filter_map(|check| check["name"].as_str()).collect();
    assert!(names.contains(&"identity.embedded") && names.iter().any(|name| name.starts_with("billing.")), "{names:?}");

    let manifest = json(product.admin("/manifest").send().await.unwrap()).await;
    assert_eq!((&manifest["product"], &manifest["contract"]), (&"parcel".into(), &"2026-11-21 (V1)".into()));
    assert_eq!((&manifest["scopes"][0], &manifest["features"][0]), (&"labels:write".into(), &"labels".into()));
    assert!(manifest["secrets"].is_array() && manifest["actions"].is_array(), "{manifest}");
    assert_eq!(product.admin("/").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_ends_cleanly() {
    let mut product = Product::start().await;
    let token = product.token("acme", "starter", &["labels:write"]).await;
    assert_eq!(product.post("/labels").bearer_auth(&token).send().await.unwrap().status(), 200);
    let mut slow = JoinSet::new();
    for _ in 0..10 {
        slow.spawn(product.get("/slow").send());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    product.platform.lifecycle().enter(Phase::LameDuck);
    while let Some(response) = slow.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    product.serving.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(product.platform.lifecycle().phase(), Phase::Closed);
    assert!(product.get("/").send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_a_drain() {
    let mut product = Product::start().await;
    let _silent = tokio::net::TcpStream::connect(product.platform.address()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    product.platform.lifecycle().enter(Phase::LameDuck);
    let ended = tokio::time::timeout(Duration::from_secs(3), product.serving.join_next());
    ended.await.expect("the drain waits for a client that says nothing").unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_say_its_protocol_is_let_go() {
    let product = Product::start().await;
    let mut ended = JoinSet::new();
    for said in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(product.platform.address()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        ended.spawn(async move {
            let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "a client that says {said:?} keeps its connection");
        });
    }
    while let Some(outcome) = ended.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_let_in_before_every_part_has_answered_or_failed_once() {
    let folder = tempfile::tempdir().unwrap();
    let platform = platform(folder.path(), &[]).await;
    let (young, failed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    for (name, answered) in [("answers", young.clone()), ("fails", failed.clone())] {
        platform.lifecycle().health().register(move || {
            let (ready, detail) = match name {
                "answers" => (!answered.load(Ordering::Relaxed), None),
                _ => (false, answered.load(Ordering::Relaxed).then(|| "away".to_owned())),
            };
            Some(Check { name: name.into(), ready, state: "test", age: None, detail })
        });
    }
    let mut serving = JoinSet::new();
    serving.spawn(platform.clone().serve(Router::new()));
    let refused = async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::net::TcpStream::connect(platform.address()).await.is_err()
    };
    assert!(refused().await, "neither has said anything");
    young.store(false, Ordering::Relaxed);
    assert!(refused().await, "one has not failed yet");
    failed.store(true, Ordering::Relaxed);
    platform.lifecycle().reached(Phase::Ready).await;
    tokio::net::TcpStream::connect(platform.address()).await.unwrap();
}

#[tokio::test]
async fn a_product_that_calls_two_others_has_tokens_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let platform = platform(folder.path(), &[]).await;
    let to_clinic = platform.calls("clinic", &["appointments:read"]).await.unwrap();
    let to_mail = platform.calls("mail", &["mail:send"]).await.unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(platform.clone().serve(Router::new()));
    platform.lifecycle().reached(Phase::Ready).await;
    for (tokens, audience, scope) in [(to_clinic, "clinic", "appointments:read"), (to_mail, "mail", "mail:send")] {
        // The first one was asked for before the issuer, which is this product, could answer.
        let token = async {
            loop {
                match tokens.token().await {
                    Ok(token) => break token,
                    Err(error) => tokio::time::sleep(error.retry_in().min(Duration::from_millis(100))).await,
                }
            }
        };
        let token = tokio::time::timeout(Duration::from_secs(10), token).await.expect("the issuer answers by now");
        let payload = token.secret().expose_secret().split('.').nth(1).unwrap().to_owned();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!((&claims["aud"], &claims["scope"]), (&audience.into(), &scope.into()));
    }
}

#[tokio::test]
async fn a_client_secret_that_cannot_be_put_where_it_belongs_is_refused_with_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let platform = platform(folder.path(), &[("HALFBYTE_SECRETS_URL", "env:")]).await;
    let Err(error) = platform.calls("clinic", &["appointments:read"]).await else { panic!("it is not there") };
    let said = error.to_string();
    assert!(said.contains("set HALFBYTE_SECRETS_URL=local:") && said.contains("clinic-client-secret"), "{said}");
}
