use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Key, Server};

/// An OpenID Connect issuer that does as it is told, and counts.
pub struct Issuer {
    shared: Arc<Shared>,
    _server: Server,
}

#[derive(Default)]
struct Shared {
    id: String,
    metadata: Mutex<Value>,
    keys: Mutex<String>,
    fetches: AtomicUsize,
    /// 0 where all is well.
    failing: AtomicU16,
}

impl Issuer {
    pub async fn start(keys: &[&Key]) -> Self {
        Self::start_on(Server::listener().await, keys)
    }

    pub fn start_on(listener: TcpListener, keys: &[&Key]) -> Self {
        let id = format!("http://{}", listener.local_addr().expect("an address"));
        let metadata = json!({"issuer": id, "jwks_uri": format!("{id}/keys"), "token_endpoint": format!("{id}/token")});
        let shared = Arc::new(Shared { id, metadata: Mutex::new(metadata), ..Shared::default() });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(published))
            .with_state(shared.clone());
        let issuer = Self { shared, _server: Server::start(listener, router) };
        issuer.publish(keys);
        issuer
    }

    pub fn id(&self) -> &str {
        &self.shared.id
    }

    pub fn publish(&self, keys: &[&Key]) {
        let jwks: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_text(&json!({ "keys": jwks }).to_string());
    }

    pub fn publish_text(&self, jwks: &str) {
        *self.shared.keys.lock().expect("not poisoned") = jwks.to_owned();
    }

    pub fn set_metadata(&self, member: &str, value: &str) {
        self.shared.metadata.lock().expect("not poisoned")[member] = json!(value);
    }

    /// Answers `status` to everything from now on; 0 makes it well again.
    pub fn fail_with(&self, status: u16) {
        self.shared.failing.store(status, Ordering::SeqCst);
    }

    /// How often its metadata was asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn failure(&self) -> Option<Response> {
        match self.failing.load(Ordering::SeqCst) {
            0 => None,
            status => Some(StatusCode::from_u16(status).expect("a status").into_response()),
        }
    }
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let metadata = shared.metadata.lock().expect("not poisoned").to_string();
    shared.failure().unwrap_or_else(|| metadata.into_response())
}

async fn published(State(shared): State<Arc<Shared>>) -> Response {
    let keys = shared.keys.lock().expect("not poisoned").clone();
    shared.failure().unwrap_or_else(|| keys.into_response())
}
