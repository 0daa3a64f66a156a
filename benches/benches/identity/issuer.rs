//! An issuer on a real socket that counts how often its keys are asked for.

use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte::core::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::AUDIENCE;

pub struct Issuer {
    pub id: String,
    key: Key,
    random: SystemRandom,
    expires_at: i64,
    tokens: AtomicU64,
    published: Arc<Published>,
}

/// A key that it signs with.
pub struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

#[derive(Default)]
struct Published {
    keys: Mutex<Vec<Value>>,
    fetches: AtomicUsize,
    slow_millis: AtomicU64,
}

impl Issuer {
    /// On a thread and a runtime of its own; it ends with the process.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let key = Key::new("first")?;
        let published = Arc::new(Published::default());
        published.publish(&key);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let id = format!("http://{}", listener.local_addr()?);
        let metadata = json!({"issuer": id, "jwks_uri": format!("{id}/keys")}).to_string();
        let keys = published.clone();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || metadata))
            .route("/keys", get(async move || keys.answer().await));
        thread::spawn(move || runtime.block_on(async { axum::serve(listener, router).await }));
        let expires_at = Clock::system().now().as_second() + 24 * 3600;
        Ok(Self { id, key, random: SystemRandom::new(), expires_at, tokens: AtomicU64::new(0), published })
    }

    /// Publishes one more key, and answers it.
    pub fn rotate(&self) -> Key {
        let key = Key::new("second").expect("made");
        self.published.publish(&key);
        key
    }

    /// Answers the keys that much later from now on.
    pub fn slow(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("not that slow");
        self.published.slow_millis.store(millis, Ordering::SeqCst);
    }

    /// How often the keys were asked for.
    pub fn fetches(&self) -> usize {
        self.published.fetches.load(Ordering::SeqCst)
    }

    /// The keys as they are published.
    pub fn jwks(&self) -> String {
        self.published.jwks()
    }

    pub fn public_key(&self) -> &[u8] {
        self.key.pair.public_key().as_ref()
    }

    /// A good token; no two are the same.
    pub fn token(&self) -> String {
        self.token_of(&self.key)
    }

    pub fn token_of(&self, key: &Key) -> String {
        let message = self.message(&key.id);
        let signature = key.pair.sign(&self.random, message.as_bytes()).expect("signed");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token as what verifies it wants it.
    pub fn signed_parts(&self) -> (String, Vec<u8>) {
        let message = self.message(&self.key.id);
        let signature = self.key.pair.sign(&self.random, message.as_bytes()).expect("signed");
        (message, signature.as_ref().to_vec())
    }

    /// A token that has nothing wrong with it but that there is no key of its `kid`.
    pub fn token_of_nobody(&self) -> String {
        let key_id = format!("{:016x}", RandomState::new().hash_one(()));
        format!("{}.{}", self.message(&key_id), URL_SAFE_NO_PAD.encode([0x5a; 64]))
    }

    /// Header and claims as an issuer by RFC 9068 has them.
    fn message(&self, key_id: &str) -> String {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        let header = json!({"alg": "ES256", "kid": key_id, "typ": "at+jwt"});
        let claims = json!({
            "iss": self.id, "aud": AUDIENCE, "sub": format!("user-{number}"), "exp": self.expires_at,
            "iat": self.expires_at - 24 * 3600, "jti": format!("token-{number}"), "client_id": "console",
            "scope": "labels:read labels:write", "tenant": "acme",
        });
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        format!("{}.{}", encode(header), encode(claims))
    }
}

impl Key {
    fn new(id: &str) -> Result<Self, Box<dyn Error>> {
        Ok(Self { id: id.to_owned(), pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)? })
    }

    fn jwk(&self) -> Value {
        // SEC 1: 4, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": x, "y": y})
    }
}

impl Published {
    fn publish(&self, key: &Key) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.jwk());
    }

    fn jwks(&self) -> String {
        json!({"keys": *self.keys.lock().unwrap_or_else(PoisonError::into_inner)}).to_string()
    }

    async fn answer(&self) -> String {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.slow_millis.load(Ordering::SeqCst))).await;
        self.jwks()
    }
}
