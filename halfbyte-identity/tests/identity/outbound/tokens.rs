//! Tokens of the product's own, had over real HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use halfbyte_core::client::Client;
use halfbyte_core::config::IdentityBackend;
use halfbyte_core::{error_chain, live};
use halfbyte_identity::{ClientAuthentication, TokenSource};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Heard, Key, Product, Server, client};

/// A product with an embedded issuer whose endpoints are served, and counted.
struct Served {
    product: Product,
    url: String,
    grants: Arc<AtomicUsize>,
    _server: Server,
}

async fn count(State(grants): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/oauth/token" {
        grants.fetch_add(1, Ordering::SeqCst);
    }
    next.run(request).await
}

impl Served {
    async fn start() -> Self {
        let listener = Server::listener().await;
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let product = Product::at(&url).await;
        let grants = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route(
                "/echo",
                get(async |request: Request| {
                    let header = request.headers().get("authorization").expect("authorized");
                    Response::new(Body::from(header.as_bytes().to_vec()))
                }),
            )
            .layer(product.identity.endpoints())
            .layer(from_fn_with_state(grants.clone(), count));
        let server = Server::start(listener, router);
        Self { product, url, grants, _server: server }
    }

    fn grants(&self) -> usize {
        self.grants.load(Ordering::SeqCst)
    }

    async fn echo(&self, tokens: &TokenSource) -> Result<String, live::Error> {
        let client = Client::new().expect("a client");
        let request = tokens.authorize(client.get(format!("{}/echo", self.url).parse().expect("a URL"))).await?;
        let answer = request.send().await.expect("sent").success().expect("answered");
        let sent = String::from_utf8(answer.body().to_vec()).expect("text");
        Ok(sent.strip_prefix("Bearer ").expect("a bearer token").to_owned())
    }
}

/// A secret that can be changed behind the token source.
fn kept(secret: SecretString) -> Arc<Mutex<SecretString>> {
    Arc::new(Mutex::new(secret))
}

fn source(served: &Served, secret: &Arc<Mutex<SecretString>>, audience: &str, scopes: &[&str]) -> TokenSource {
    let secret = secret.clone();
    served.product.identity.tokens("acme-app", move || Ok(secret.lock().expect("kept").clone()), audience, scopes)
}

#[tokio::test]
async fn a_hundred_who_wait_for_a_token_cost_one_fetch_and_nobody_asks_before_one_is_needed() {
    let served = Arc::new(Served::start().await);
    let secret = kept(served.product.register("acme-app").await);
    let tokens = source(&served, &secret, "clinic", &["labels:read"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(served.grants(), 0);

    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (served, tokens) = (served.clone(), tokens.clone());
        waiting.spawn(async move { served.echo(&tokens).await.expect("authorized") });
    }
    let mut sent = waiting.join_all().await;
    sent.dedup();
    assert_eq!((sent.len(), served.grants()), (1, 1));
    let claims: Value =
        serde_json::from_slice(&crate::support::unb64(sent[0].split('.').nth(1).expect("claims"))).expect("JSON");
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!("clinic"), &json!("labels:read")));
}

#[tokio::test]
async fn a_client_has_one_source_for_an_audience_and_a_set_of_scopes() {
    let served = Served::start().await;
    let secret = served.product.register("acme-app").await;
    let authentication = ClientAuthentication::secret(move || Ok(secret.clone()));
    let client = served.product.identity.client("acme-app", authentication);
    let mut sent = Vec::new();
    for scopes in [["labels:read", "labels:write"], ["labels:write", "labels:read"]] {
        sent.push(served.echo(&client.clone().tokens("clinic", &scopes)).await.expect("authorized"));
    }
    assert_eq!((served.grants(), &sent[0]), (1, &sent[1]));
    served.echo(&client.tokens("clinic", &["labels:read"])).await.expect("authorized");
    served.echo(&client.tokens("parcel", &["labels:read"])).await.expect("authorized");
    assert_eq!(served.grants(), 3);
}

#[tokio::test]
async fn a_rotated_secret_is_used_from_the_next_fetch_on() {
    let served = Served::start().await;
    let secret = kept(served.product.register("acme-app").await);
    let tokens = source(&served, &secret, "clinic", &[]);
    let first = served.echo(&tokens).await.expect("authorized");
    for _ in 0..2 {
        *secret.lock().expect("kept") =
            served.product.issuer().rotate_client_secret("acme-app").await.expect("rotated");
    }
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    tokens.renew().await.expect("renewed with the new secret");
    assert_ne!(served.echo(&tokens).await.expect("authorized"), first);
    assert_eq!(served.grants(), 2);
}

#[tokio::test]
async fn a_refused_client_is_an_error_without_the_secret_in_it_and_is_not_asked_for_at_every_call() {
    let served = Served::start().await;
    let registered = served.product.register("acme-app").await;
    let secret = kept("hbcs_not-the-right-one".to_owned().into());
    let tokens = source(&served, &secret, "clinic", &[]);
    let error = served.echo(&tokens).await.expect_err("refused");
    let again = served.echo(&tokens).await.expect_err("refused");
    assert_eq!(served.grants(), 1, "the second was answered while the first rests");
    for shown in [error_chain(&error), format!("{error:?} {again:?} {tokens:?}")] {
        assert!(!shown.contains("not-the-right-one") && !shown.contains(registered.expose_secret()), "{shown}");
    }
    assert!(error_chain(&error).contains("401"), "{}", error_chain(&error));
}

#[tokio::test]
async fn a_token_or_its_secret_is_shown_and_logged_by_nothing_on_its_way() {
    let heard = Heard::listen();
    let served = Served::start().await;
    let secret = kept(served.product.register("acme-app").await);
    let tokens = source(&served, &secret, "clinic", &[]);
    let token = served.echo(&tokens).await.expect("authorized");
    let request = Client::new().expect("a client").get("http://127.0.0.1:1".parse().expect("a URL"));
    let request = tokens.authorize(request).await.expect("authorized");
    let shown = format!("{tokens:?} {request:?}");
    assert!(!shown.contains(&token) && !shown.contains("hbcs_"), "{shown}");
    let secret = secret.lock().expect("kept").clone();
    let heard = heard.text();
    assert!(heard.contains("connection"), "else nothing was heard of HTTP");
    assert!(!heard.contains(&token) && !heard.contains(secret.expose_secret()));
}

/// An issuer whose token endpoint answers what it is told.
async fn answering(answer: Value) -> (Product, Arc<AtomicUsize>, Server) {
    let listener = Server::listener().await;
    let id = format!("http://{}", listener.local_addr().expect("an address"));
    let metadata = json!({"issuer": id, "jwks_uri": format!("{id}/keys"), "token_endpoint": format!("{id}/token")});
    let (metadata, keys) = (metadata.to_string(), json!({"keys": [Key::es256("1").jwk()]}).to_string());
    let grants = Arc::new(AtomicUsize::new(0));
    let counted = grants.clone();
    let token = async move || {
        let serial = counted.fetch_add(1, Ordering::SeqCst);
        answer.to_string().replace("SERIAL", &serial.to_string())
    };
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async move || metadata))
        .route("/keys", get(async move || keys))
        .route("/token", post(token));
    let server = Server::start(listener, router);
    (Product::open(vec![IdentityBackend::issuer(id)]).await, grants, server)
}

fn request() -> halfbyte_core::client::Request {
    Client::new().expect("a client").get("http://127.0.0.1:1".parse().expect("a URL"))
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let (product, grants, _server) =
        answering(json!({"access_token": "t-SERIAL", "token_type": "bearer", "expires_in": 4})).await;
    let tokens = product.identity.tokens("app", || Ok("secret".to_owned().into()), "clinic", &[]);
    let _request = tokens.authorize(request()).await.expect("authorized");
    assert_eq!(grants.load(Ordering::SeqCst), 1);
    // Nobody asks, and yet there is a new one before the four seconds are over.
    tokio::time::sleep(Duration::from_millis(3_900)).await;
    assert_eq!(grants.load(Ordering::SeqCst), 2);
    let _request = tokens.authorize(request()).await.expect("authorized");
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_an_error_and_the_issuer_is_left_in_peace() {
    for answer in [
        json!({"access_token": "secret-t", "token_type": "Bearer", "expires_in": 0}),
        json!({"access_token": "secret-t", "token_type": "DPoP", "expires_in": 60}),
        json!({"access_token": "secret-t", "expires_in": 60}),
        json!({"token_type": "Bearer", "expires_in": 60}),
        json!({"access_token": "secret-t", "token_type": "Bearer", "expires_in": "secret-t"}),
        json!("secret-t"),
    ] {
        let shown = answer.to_string();
        let (product, grants, _server) = answering(answer).await;
        let tokens = product.identity.tokens("app", || Ok("secret".to_owned().into()), "clinic", &[]);
        let error = tokens.authorize(request()).await.expect_err(&shown);
        assert!(!format!("{error:?} {}", error_chain(&error)).contains("secret-t"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(grants.load(Ordering::SeqCst), 1, "{shown}");
    }
}

#[tokio::test]
async fn a_token_that_is_good_for_ever_is_used_for_ever() {
    let (product, grants, _server) =
        answering(json!({"access_token": "t", "token_type": "Bearer", "expires_in": u64::MAX})).await;
    let tokens = product.identity.tokens("app", || Ok("secret".to_owned().into()), "clinic", &[]);
    for _ in 0..3 {
        let _request = tokens.authorize(request()).await.expect("authorized");
    }
    assert_eq!(grants.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_an_error_with_its_cause() {
    let served = Served::start().await;
    served.product.issuer().register(client("acme-app")).await.expect("registered");
    let tokens = served.product.identity.tokens("acme-app", || Err("the safe is locked".into()), "clinic", &[]);
    let error = served.echo(&tokens).await.expect_err("no secret");
    assert!(error_chain(&error).contains("the safe is locked"));
    assert_eq!(served.grants(), 0);
}
