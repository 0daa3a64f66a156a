//! What an operator does to a server.

use std::time::Duration;

use halfbyte::secrets::openbao::{Auth, OpenBao, Settings};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// A server, and the token that may do everything there.
#[derive(Clone)]
pub struct Bao {
    pub url: String,
    pub token: String,
    namespace: Option<String>,
    http: reqwest::Client,
}

impl Bao {
    /// The server that all tests share.
    pub fn shared() -> Self {
        Self::at(crate::server("HB_TEST_OPENBAO_URL"), crate::server("HB_TEST_OPENBAO_TOKEN"))
    }

    pub fn at(url: String, token: String) -> Self {
        Self { url, token, namespace: None, http: reqwest::Client::new() }
    }

    /// As seen by those in a namespace.
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// What it answers, with its status.
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.url));
        request = request.header("x-vault-token", &self.token).body(body.to_string());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(Method::POST, path, body).await;
        assert!(matches!(status, 200 | 204), "{path}: {status} {answer}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub async fn delete(&self, path: &str) {
        let (status, answer) = self.ask(Method::DELETE, path, Value::Null).await;
        assert_eq!(status, 204, "{path}: {answer}");
    }

    /// Makes what may be there since the tests ran last.
    pub async fn ensure(&self, path: &str, body: Value) {
        let (status, answer) = self.ask(Method::POST, path, body).await;
        assert!(matches!(status, 200 | 204 | 400), "{path}: {status} {answer}");
    }

    /// Mounts a key-value engine, and waits until it can be used.
    pub async fn mount_kv(&self, mount: &str) {
        self.ensure(&format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } })).await;
        let begun = Instant::now();
        while self.ask(Method::GET, &format!("{mount}/config"), Value::Null).await.0 != 200 {
            assert!(begun.elapsed() < Duration::from_secs(15), "{mount} cannot be used");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Puts a secret; answers its version.
    pub async fn put(&self, path: &str, fields: Value) -> u64 {
        self.post(path, json!({ "data": fields })).await["data"]["version"].as_u64().unwrap()
    }

    /// A role of AppRole that may read `paths`, with tokens for that many seconds at first and at most.
    pub async fn role(&self, role: &str, paths: &[&str], ttl: u64, max_ttl: u64) -> Auth {
        self.allow(role, paths).await;
        let settings = json!({ "token_policies": role, "token_ttl": ttl, "token_max_ttl": max_ttl });
        self.post(&format!("auth/approle/role/{role}"), settings).await;
        let (role_id, secret_id) = self.credentials(role).await;
        Auth::app_role(SecretString::from(role_id), SecretString::from(secret_id))
    }

    /// Makes the policy of a role anew: it may read `paths`, and give leases back.
    pub async fn allow(&self, role: &str, paths: &[&str]) {
        self.write_policy(role, &readable(paths)).await;
    }

    /// The same, except for `denied`.
    pub async fn allow_all_but(&self, role: &str, paths: &[&str], denied: &str) {
        self.write_policy(role, &format!("{}path \"{denied}\" {{ capabilities = [\"deny\"] }}\n", readable(paths)))
            .await;
    }

    async fn write_policy(&self, role: &str, rules: &str) {
        let policy = format!("{rules}path \"sys/leases/revoke\" {{ capabilities = [\"update\"] }}");
        self.post(&format!("sys/policies/acl/{role}"), json!({ "policy": policy })).await;
    }

    pub async fn credentials(&self, role: &str) -> (String, String) {
        let role_id = self.get(&format!("auth/approle/role/{role}/role-id")).await["data"]["role_id"].clone();
        let secret_id = self.post(&format!("auth/approle/role/{role}/secret-id"), json!({})).await;
        (text(&role_id), text(&secret_id["data"]["secret_id"]))
    }

    /// A token with that role's policy, for that many seconds.
    pub async fn make_token(&self, policy: &str, ttl: u64, renewable: bool) -> String {
        let body = json!({ "policies": [policy], "ttl": format!("{ttl}s"), "renewable": renewable });
        text(&self.post("auth/token/create", body).await["auth"]["client_token"])
    }

    /// Revokes every token that a role was given, with what was lent to it; answers how many there were.
    pub async fn revoke_tokens_of(&self, role: &str) -> usize {
        let accessors = self.ask(Method::from_bytes(b"LIST").unwrap(), "auth/token/accessors", Value::Null).await.1;
        let mut revoked = 0;
        for accessor in accessors["data"]["keys"].as_array().unwrap() {
            let body = json!({ "accessor": accessor });
            let (status, token) = self.ask(Method::POST, "auth/token/lookup-accessor", body.clone()).await;
            if status == 200 && token["data"]["meta"]["role_name"] == role {
                self.post("auth/token/revoke-accessor", body).await;
                revoked += 1;
            }
        }
        revoked
    }

    pub fn settings(&self, mount: &str, auth: Auth) -> Settings {
        let settings = Settings::new(self.url.parse().unwrap(), mount, auth).unwrap();
        match &self.namespace {
            Some(namespace) => settings.namespace(namespace),
            None => settings,
        }
    }

    pub fn provider(&self, mount: &str, auth: Auth) -> OpenBao {
        OpenBao::new(self.settings(mount, auth)).unwrap()
    }
}

fn readable(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n")).collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
