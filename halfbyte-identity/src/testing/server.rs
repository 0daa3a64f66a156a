//! What of a test issuer is behind its port.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte_core::Clock;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::form_urlencoded;

use super::issuer::Outage;
use super::persona::Persona;
use super::signer::{Owner, Signer};
use crate::jose::{self, Algorithm, JwkSet};

const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/jwks";
const TOKEN: &str = "/token";
const INTROSPECTION: &str = "/introspect";
const REVOCATION: &str = "/revoke";
/// Where a stranger's keys are: nobody has any reason to come here.
pub(super) const STRANGER_KEYS: &str = "/stranger/jwks";
/// Where a stranger's certificates are.
pub(super) const STRANGER_CHAIN: &str = "/stranger/chain.pem";

const PATHS: [&str; 7] = [DISCOVERY, KEYS, TOKEN, INTROSPECTION, REVOCATION, STRANGER_KEYS, STRANGER_CHAIN];

/// What the handle and the port of an issuer share.
pub(super) struct Shared {
    id: String,
    clock: Clock,
    state: Mutex<Controls>,
    outage: watch::Sender<Outage>,
    fetches: [AtomicUsize; PATHS.len()],
}

/// What a test can change.
pub(super) struct Controls {
    current: Arc<Signer>,
    published: Vec<Arc<Signer>>,
    made: usize,
    pub(super) clients: HashMap<String, Box<str>>,
    pub(super) opaque: HashMap<String, Map<String, Value>>,
    /// `jti` of tokens.
    revoked: HashSet<String>,
    pub(super) delay: Duration,
    pub(super) skew: SignedDuration,
    pub(super) stranger_keys: String,
    pub(super) stranger_chain: String,
}

impl Controls {
    fn new() -> Self {
        let first = Arc::new(Signer::generate(Algorithm::Es256, "key-1", Owner::Issuer));
        Self {
            current: first.clone(),
            published: vec![first],
            made: 1,
            clients: HashMap::new(),
            opaque: HashMap::new(),
            revoked: HashSet::new(),
            delay: Duration::ZERO,
            skew: SignedDuration::ZERO,
            stranger_keys: String::new(),
            stranger_chain: String::new(),
        }
    }

    pub(super) fn current(&self) -> Arc<Signer> {
        self.current.clone()
    }

    pub(super) fn rotate(&mut self, algorithm: Algorithm) {
        self.made += 1;
        self.current = Arc::new(Signer::generate(algorithm, &format!("key-{}", self.made), Owner::Issuer));
    }

    pub(super) fn publish(&mut self) {
        if !self.published.iter().any(|key| Arc::ptr_eq(key, &self.current)) {
            self.published.push(self.current.clone());
        }
    }

    pub(super) fn forget_old_keys(&mut self) {
        let current = self.current.clone();
        self.published.retain(|key| Arc::ptr_eq(key, &current));
    }

    fn jwks(&self) -> String {
        let keys: Vec<_> = self.published.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }
}

impl Shared {
    pub(super) fn new(id: String, clock: Clock) -> Self {
        let (state, outage) = (Mutex::new(Controls::new()), watch::Sender::new(Outage::None));
        Self { id, clock, state, outage, fetches: Default::default() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Controls> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time as this issuer has it.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(self.state().skew).unwrap_or(now)
    }

    pub(super) fn set_outage(&self, outage: Outage) {
        self.outage.send_replace(outage);
    }

    pub(super) fn fetches_of(&self, path: &str) -> usize {
        let known = PATHS.iter().position(|known| *known == path);
        known.map_or(0, |index| self.fetches[index].load(Ordering::SeqCst))
    }

    pub(super) fn jwks(&self) -> String {
        self.state().jwks()
    }

    pub(super) fn revoke(&self, token: &str) {
        let id = self.claims_of_signed(token).and_then(|claims| Some(claims.get("jti")?.as_str()?.to_owned()));
        let mut state = self.state();
        state.opaque.remove(token);
        state.revoked.extend(id);
    }

    /// The claims of a token that an endpoint is asked about, if it is good now.
    fn claims_of(&self, token: &str) -> Option<Map<String, Value>> {
        let opaque = self.state().opaque.get(token).cloned();
        let claims = opaque.or_else(|| self.claims_of_signed(token))?;
        let revoked = claims.get("jti").and_then(Value::as_str).is_some_and(|id| self.state().revoked.contains(id));
        let good = claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp > self.now().as_second());
        (good && !revoked).then_some(claims)
    }

    fn claims_of_signed(&self, token: &str) -> Option<Map<String, Value>> {
        let keys = JwkSet::parse(self.jwks().as_bytes()).ok()?;
        let allowed: Vec<_> = self.state().published.iter().map(|key| key.algorithm()).collect();
        let verified = jose::verify(token, &keys, &allowed).ok()?;
        jose::parse_object(&verified.payload).ok()
    }

    /// The client that asks, if its secret is right (RFC 6749, 2.3.1: `client_secret_basic` or `client_secret_post`).
    fn client_of(&self, headers: &HeaderMap, form: &Form) -> Option<String> {
        let (id, secret) = match headers.get(AUTHORIZATION) {
            None => (form.get("client_id")?.clone(), form.get("client_secret")?.clone()),
            Some(value) => {
                let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
                let credentials = STANDARD.decode(credentials).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
                let (id, secret) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
                (form_decoded(id)?, form_decoded(secret)?)
            }
        };
        let state = self.state();
        let known = state.clients.get(&id)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(known.as_bytes(), secret.as_bytes()).ok()?;
        Some(id)
    }
}

/// `+` is a space, and the rest is percent-encoded.
fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

/// Serves until it is dropped.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route(DISCOVERY, get(discovery))
        .route(KEYS, get(async |State(shared): Shares| answer(StatusCode::OK, shared.jwks())))
        .route(TOKEN, post(token))
        .route(INTROSPECTION, post(introspection))
        .route(REVOCATION, post(revocation))
        .route(STRANGER_KEYS, get(async |State(shared): Shares| shared.state().stranger_keys.clone()))
        .route(STRANGER_CHAIN, get(async |State(shared): Shares| shared.state().stranger_chain.clone()))
        .layer(from_fn_with_state(shared.clone(), behave))
        .with_state(shared.clone());
    let _never = axum::serve(Door { listener, shared }, router).await;
}

/// Lets connections in unless they are refused. The port stays taken all the while: no other test gets it by chance.
struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if *self.shared.outage.borrow() != Outage::Refuse {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

type Shares = State<Arc<Shared>>;
type Form = HashMap<String, String>;

/// Counts, waits and fails as the test has it.
async fn behave(State(shared): Shares, request: Request, next: Next) -> Response {
    if let Some(index) = PATHS.iter().position(|path| *path == request.uri().path()) {
        shared.fetches[index].fetch_add(1, Ordering::SeqCst);
    }
    let delay = shared.state().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut outages = shared.outage.subscribe();
    let outage = outages.wait_for(|outage| *outage != Outage::Hang).await.map_or(Outage::Refuse, |outage| *outage);
    let mut response = match outage {
        Outage::None => next.run(request).await,
        Outage::Error(status) => status.into_response(),
        Outage::Garbage => ([(CONTENT_TYPE, "text/html")], "<!doctype html><title>Welcome</title>").into_response(),
        // Let in before the outage began.
        Outage::Refuse | Outage::Hang => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn answer(status: StatusCode, json: impl ToString) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, json.to_string()).into_response()
}

/// RFC 6749, 5.2.
fn refusal(error: &str) -> Response {
    if error != "invalid_client" {
        return answer(StatusCode::BAD_REQUEST, json!({ "error": error }));
    }
    let mut response = answer(StatusCode::UNAUTHORIZED, json!({ "error": error }));
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"issuer\""));
    response
}

async fn discovery(State(shared): Shares) -> Response {
    let id = shared.id();
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    let metadata = json!({
        "issuer": id,
        "jwks_uri": format!("{id}{KEYS}"),
        "token_endpoint": format!("{id}{TOKEN}"),
        "introspection_endpoint": format!("{id}{INTROSPECTION}"),
        "revocation_endpoint": format!("{id}{REVOCATION}"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [shared.state().current().algorithm().as_str()],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    });
    answer(StatusCode::OK, metadata)
}

fn form_of(body: &[u8]) -> Form {
    form_urlencoded::parse(body).into_owned().collect()
}

/// Grants what is asked for: a test says what it wants.
async fn token(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Response {
    let form = form_of(&body);
    let Some(client) = shared.client_of(&headers, &form) else { return refusal("invalid_client") };
    if form.get("grant_type").is_none_or(|grant| grant != "client_credentials") {
        return refusal("unsupported_grant_type");
    }
    let Some(audience) = form.get("audience").or_else(|| form.get("resource")) else {
        return refusal("invalid_target");
    };
    let scope = form.get("scope").map(String::as_str).unwrap_or_default();
    let persona = Persona::service(&client).claim("scope", scope);
    let claims = Value::Object(persona.claims_for(shared.id(), audience, shared.now()));
    let signer = shared.state().current();
    let token = signer.token(signer.header().to_string(), claims.to_string());
    let lifetime = persona.lifetime().as_secs();
    answer(
        StatusCode::OK,
        json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope}),
    )
}

/// RFC 7662.
async fn introspection(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Response {
    let form = form_of(&body);
    if shared.client_of(&headers, &form).is_none() {
        return refusal("invalid_client");
    }
    let Some(token) = form.get("token") else { return refusal("invalid_request") };
    let Some(mut claims) = shared.claims_of(token) else {
        return answer(StatusCode::OK, json!({ "active": false }));
    };
    let token_type = if claims.get("cnf").is_some_and(|cnf| cnf.get("jkt").is_some()) { "DPoP" } else { "Bearer" };
    claims.insert("active".into(), json!(true));
    claims.insert("token_type".into(), json!(token_type));
    answer(StatusCode::OK, Value::Object(claims))
}

/// RFC 7009.
async fn revocation(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Response {
    let form = form_of(&body);
    if shared.client_of(&headers, &form).is_none() {
        return refusal("invalid_client");
    }
    let Some(token) = form.get("token") else { return refusal("invalid_request") };
    shared.revoke(token);
    StatusCode::OK.into_response()
}
