//! The issuer in the process: its endpoints, its rotations, and its file.

mod documents;
mod exchange;
mod file;
mod forms;
mod grants;
mod introspection;
mod key_rotation;
mod revocation;
mod secret_rotation;

use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use http::Request;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::support::{Product, Seen, b64, send, unb64, with_token};

const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";

/// A client that has registered.
struct Registered {
    id: &'static str,
    secret: SecretString,
}

impl Registered {
    async fn at(product: &Product, id: &'static str) -> Self {
        Self { id, secret: product.register(id).await }
    }

    /// Sends a form to an endpoint, with the credentials in it.
    async fn post(&self, product: &Product, path: &str, fields: &[(&str, &str)]) -> Seen {
        let credentials = [("client_id", self.id), ("client_secret", self.secret.expose_secret())];
        let form = Serializer::new(String::new()).extend_pairs(credentials).extend_pairs(fields).finish();
        send(&product.endpoints(), Request::post(path).body(form).expect("a request")).await
    }

    async fn token(&self, product: &Product) -> String {
        access_token(&product.ask_token(self.id, &self.secret, &[]).await)
    }

    async fn revoke(&self, product: &Product, token: &str) -> Seen {
        self.post(product, REVOKE, &[("token", token)]).await
    }

    async fn introspect(&self, product: &Product, token: &str) -> Value {
        let seen = self.post(product, INTROSPECT, &[("token", token)]).await;
        assert_eq!((seen.status.as_u16(), seen.header("cache-control")), (200, "no-store"), "{}", seen.body);
        seen.json()
    }
}

fn access_token(seen: &Seen) -> String {
    assert_eq!(seen.status, 200, "{}", seen.body);
    seen.json()["access_token"].as_str().expect("a token").to_owned()
}

fn claims_of(token: &str) -> Value {
    serde_json::from_slice(&unb64(token.split('.').nth(1).expect("a part"))).expect("JSON")
}

fn id_of(token: &str) -> String {
    claims_of(token)["jti"].as_str().expect("an id").to_owned()
}

/// What the product says to a caller with that token.
async fn status_of(product: &Product, token: &str) -> u16 {
    send(&product.greeter(), with_token(token)).await.status.as_u16()
}

fn path_of(product: &Product) -> PathBuf {
    product.home().path().join("identity/issuer.json")
}

fn stored(product: &Product) -> Value {
    serde_json::from_slice(&std::fs::read(path_of(product)).expect("read")).expect("JSON")
}

fn assert_refused(seen: &Seen, status: u16, error: &str) {
    assert_eq!((seen.status.as_u16(), seen.json()["error"].as_str()), (status, Some(error)), "{}", seen.body);
    assert_eq!((seen.header("content-type"), seen.header("cache-control")), ("application/json", "no-store"));
    assert_eq!(seen.header("content-length"), seen.body.len().to_string());
    assert_eq!(seen.header("www-authenticate").starts_with("Basic "), status == 401);
}

/// The issuer's own signing key: for tokens that it would not make, with a good signature.
struct SigningKey {
    key_id: Value,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    fn of(product: &Product) -> Self {
        let stored = stored(product);
        let mut keys = stored["keys"].as_array().expect("keys").iter();
        let key = keys.find(|key| key["role"] == "signing").expect("one that signs");
        let pkcs8 = unb64(key["pkcs8"].as_str().expect("text"));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a key");
        Self { key_id: key["key_id"].clone(), pair }
    }

    fn token_of_type(&self, typ: &str, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": typ, "kid": self.key_id});
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", b64(signature))
    }

    /// `token` with some of its claims changed; `null` takes one away.
    fn token_like(&self, token: &str, changes: &Value) -> String {
        let mut claims = claims_of(token);
        for (name, value) in changes.as_object().expect("an object") {
            let claims = claims.as_object_mut().expect("an object");
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        self.token_of_type("at+jwt", &claims)
    }
}
