//! Secrets in moto, under a prefix of a test's own, since all tests share it.

use std::sync::Mutex;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte::secrets::testing::conformance::{Backend, Outcome};
use halfbyte::secrets::{Aws, Name};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::proxy::{Fault, Proxy};

/// What tells moto which service is asked; it checks no signature.
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request";

/// As AWS answers where a policy does not allow it.
const DENIED: &str = r#"{"__type":"AccessDeniedException","Message":"User: test is not authorized"}"#;

pub struct Moto {
    url: String,
    prefix: String,
    http: reqwest::Client,
    proxy: Option<Proxy>,
    existing: Mutex<Vec<Name>>,
}

impl Moto {
    pub fn direct() -> Self {
        let url = crate::server("HB_TEST_MOTO_URL");
        let prefix = format!("tests/{}", Uuid::new_v4().simple());
        Self { url, prefix, http: reqwest::Client::new(), proxy: None, existing: Mutex::default() }
    }

    pub async fn behind_a_proxy() -> Self {
        let moto = Self::direct();
        let proxy = Some(Proxy::start(moto.url.clone()).await);
        Self { proxy, ..moto }
    }

    pub fn aws(&self) -> Aws {
        let endpoint = self.proxy.as_ref().map_or_else(|| self.url.clone(), Proxy::url);
        Aws::new("us-east-1", &self.prefix).unwrap().endpoint(endpoint).access_key("test", &"test".into())
    }

    pub async fn create(&self, name: &str, value: &str) {
        self.call("CreateSecret", json!({"Name": self.id(name), "SecretString": value})).await;
    }

    pub async fn put(&self, name: &str, value: &str) {
        self.call("PutSecretValue", json!({"SecretId": self.id(name), "SecretString": value})).await;
    }

    pub async fn pend(&self, name: &str, value: &str) {
        let stages = ["AWSPENDING"];
        let ask = json!({"SecretId": self.id(name), "SecretString": value, "VersionStages": stages});
        self.call("PutSecretValue", ask).await;
    }

    /// As the last step of a rotation function does it.
    pub async fn promote(&self, name: &str) {
        let secret = self.call("DescribeSecret", json!({"SecretId": self.id(name)})).await;
        let versions = secret["VersionIdsToStages"].as_object().unwrap();
        let of = |label: &str| {
            let is_in = |stages: &Value| stages.as_array().unwrap().iter().any(|stage| stage == label);
            versions.iter().find(|(_, stages)| is_in(stages)).map(|(id, _)| id.clone()).unwrap()
        };
        let ask = json!({
            "SecretId": self.id(name),
            "VersionStage": "AWSCURRENT",
            "MoveToVersionId": of("AWSPENDING"),
            "RemoveFromVersionId": of("AWSCURRENT"),
        });
        self.call("UpdateSecretVersionStage", ask).await;
    }

    pub async fn delete(&self, name: &str) {
        self.call("DeleteSecret", json!({"SecretId": self.id(name)})).await;
    }

    fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    async fn call(&self, operation: &str, ask: Value) -> Value {
        let request = self
            .http
            .post(&self.url)
            .header("authorization", CREDENTIAL)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .body(ask.to_string());
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        assert!(status.is_success(), "{operation}: {status}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn fault(&self, fault: Option<Fault>) {
        self.proxy.as_ref().unwrap().fault(fault);
    }
}

impl Backend for Moto {
    type Provider = Aws;

    fn provider(&self) -> Aws {
        self.aws()
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let (kind, value) = match std::str::from_utf8(value) {
            Ok(text) => ("SecretString", text.to_owned()),
            Err(_) => ("SecretBinary", STANDARD.encode(value)),
        };
        let is_there = self.existing.lock().unwrap().contains(name);
        if is_there {
            self.call("PutSecretValue", json!({"SecretId": self.id(name.as_str()), kind: value})).await;
        } else {
            self.call("CreateSecret", json!({"Name": self.id(name.as_str()), kind: value})).await;
            self.existing.lock().unwrap().push(name.clone());
        }
        Ok(())
    }

    async fn pend(&self, name: &Name, value: &[u8]) -> Outcome {
        Moto::pend(self, name.as_str(), std::str::from_utf8(value)?).await;
        Ok(())
    }

    async fn promote(&self, name: &Name) -> Outcome {
        Moto::promote(self, name.as_str()).await;
        Ok(())
    }

    fn keeps_previous(&self) -> bool {
        true
    }

    async fn deny(&self, _: &Name) -> Outcome {
        self.fault(Some(Fault::Answers(StatusCode::BAD_REQUEST, DENIED)));
        Ok(())
    }

    async fn outage(&self) -> Outcome {
        self.fault(Some(Fault::HangsUp));
        Ok(())
    }

    async fn slow(&self) -> Outcome {
        self.fault(Some(Fault::IsSilent));
        Ok(())
    }

    async fn malform(&self, _: &Name) -> Outcome {
        self.fault(Some(Fault::Garbles));
        Ok(())
    }

    async fn restore(&self) -> Outcome {
        self.fault(None);
        Ok(())
    }
}
