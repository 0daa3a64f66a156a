use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use halfbyte_core::Lifecycle;
use halfbyte_core::client::Client;
use halfbyte_core::config::IdentityBackend;
use halfbyte_core::home::Home;
use halfbyte_identity::outbound::{ClientAuthentication, OAuthClient};
use halfbyte_identity::{Identity, Settings};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use crate::support::{Key, Server, life};

/// An issuer that answers what a test tells it to and remembers what it was asked; and a product that trusts it, whose HTTP
/// client makes up to three attempts.
pub struct Scripted {
    pub identity: Identity,
    pub url: String,
    life: Lifecycle,
    asked: Arc<Mutex<Vec<Asked>>>,
    _folder: TempDir,
    _server: Server,
}

/// A call to an endpoint of the issuer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: String,
    pub form: BTreeMap<String, String>,
}

impl Asked {
    pub fn field(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }
}

/// Status and body.
pub type Answer = (u16, String);

pub fn ok(body: &Value) -> Answer {
    (200, body.to_string())
}

/// A good token, named by the number of the call.
pub fn bearer(serial: usize) -> Answer {
    ok(&json!({"access_token": format!("t-{serial}"), "token_type": "Bearer", "expires_in": 300}))
}

impl Scripted {
    /// `answer` is given how many calls there were before, and the call.
    pub async fn start(answer: impl Fn(usize, &Asked) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let listener = Server::listener().await;
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let metadata = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "token_endpoint": format!("{url}/token"),
            "introspection_endpoint": format!("{url}/introspect"),
            "revocation_endpoint": format!("{url}/revoke"),
            "userinfo_endpoint": format!("{url}/userinfo"),
        });
        let keys = json!({"keys": [Key::es256("1").jwk()]});
        let asked = Arc::new(Mutex::new(Vec::new()));
        let memory = asked.clone();
        let handler = move |request: Request| {
            let (metadata, keys) = (metadata.to_string(), keys.to_string());
            let (memory, answer) = (memory.clone(), answer.clone());
            async move {
                let (status, body) = match request.uri().path() {
                    "/.well-known/openid-configuration" => (200, metadata),
                    "/keys" => (200, keys),
                    _ => {
                        let call = read(request).await;
                        let serial = remember(&memory, call.clone());
                        // Long enough for others to come and ask for the same.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        answer(serial, &call)
                    }
                };
                Response::builder().status(status).body(Body::from(body)).expect("a response")
            }
        };
        let server = Server::start(listener, Router::new().fallback(handler));

        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings::new(
            vec![IdentityBackend::issuer(url.clone())],
            "parcel",
            "http://127.0.0.1:8080".parse().expect("a URL"),
            Home::open(folder.path().join("home")).expect("a home"),
        );
        let life = life();
        let identity = Identity::open(settings, Client::new().expect("a client"), &life).await.expect("opened");
        Self { identity, url, life, asked, _folder: folder, _server: server }
    }

    pub fn client(&self) -> OAuthClient {
        self.identity.client("parcel", ClientAuthentication::secret(|| Ok("the-clients-own-secret".into())))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    pub fn calls(&self) -> usize {
        self.asked().len()
    }

    pub fn jump(&self, seconds: i64) {
        self.life.clock().jump(SignedDuration::from_secs(seconds));
    }
}

fn remember(memory: &Mutex<Vec<Asked>>, call: Asked) -> usize {
    let mut memory = memory.lock().expect("not poisoned");
    memory.push(call);
    memory.len() - 1
}

async fn read(request: Request) -> Asked {
    let header = request.headers().get("authorization");
    let authorization = header.map_or("", |value| value.to_str().expect("text")).to_owned();
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    let mut form = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(&body).into_owned() {
        assert!(form.insert(name.clone(), value).is_none(), "{name} stands twice");
    }
    Asked { path, authorization, form }
}
