//! Being let in, and staying so.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use halfbyte::core::Lifecycle;
use halfbyte::secrets::openbao::{Auth, Credential, OpenBao, Settings};
use halfbyte::secrets::{Provider as _, Secrets};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::bao::{Bao, text};
use super::{lifecycle, quick, until, value};
use crate::oidc::free_port;

#[tokio::test]
async fn a_token_is_renewed_and_then_replaced_without_a_reader_noticing() {
    let bao = Bao::shared();
    let auth = bao.role("expiring", &["secret/data/expiring"], 2, 4).await;
    bao.put("secret/data/expiring", json!({ "value": "x" })).await;
    let openbao = bao.provider("secret", auth);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        assert_eq!(value(&openbao, "expiring").await.unwrap(), "x");
        sleep(Duration::from_millis(50)).await;
    }
    openbao.close().await;
    assert_eq!(bao.revoke_tokens_of("expiring").await, 0, "the last one was given back, the others have ended");
}

#[tokio::test]
async fn fifty_readers_go_on_when_the_token_is_revoked() {
    let bao = Bao::shared();
    let auth = bao.role("revocation", &["secret/data/revocation"], 600, 600).await;
    bao.put("secret/data/revocation", json!({ "value": "x" })).await;
    let openbao = bao.provider("secret", auth);
    bao.revoke_tokens_of("revocation").await;
    for _ in 0..3 {
        let mut readers = JoinSet::new();
        for _ in 0..50 {
            let openbao = openbao.clone();
            readers.spawn(async move { value(&openbao, "revocation").await });
        }
        assert!(readers.join_all().await.into_iter().all(|value| value.is_ok_and(|value| value == "x")));
        assert_eq!(bao.revoke_tokens_of("revocation").await, 1, "one login for all");
    }
}

#[tokio::test]
async fn a_secret_id_in_a_file_is_read_anew_when_the_old_one_was_destroyed() {
    let bao = Bao::shared();
    bao.role("filed", &["secret/data/filed"], 600, 600).await;
    bao.put("secret/data/filed", json!({ "value": "x" })).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-id");
    let (role_id, _) = bao.credentials("filed").await;
    let openbao = bao.provider("secret", Auth::app_role(SecretString::from(role_id), Credential::file(&file)));
    for _ in 0..2 {
        let (_, secret_id) = bao.credentials("filed").await;
        std::fs::write(&file, &secret_id).unwrap();
        assert_eq!(value(&openbao, "filed").await.unwrap(), "x");
        bao.post("auth/approle/role/filed/secret-id/destroy", json!({ "secret_id": secret_id })).await;
        bao.revoke_tokens_of("filed").await;
    }
    let error = value(&openbao, "filed").await.unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("the login was refused"), "{error}");
}

#[tokio::test]
async fn a_token_that_was_given_lives_by_renewal_and_is_denied_after_its_end() {
    let bao = Bao::shared();
    bao.role("given", &["secret/data/given"], 600, 600).await;
    bao.put("secret/data/given", json!({ "value": "x" })).await;
    let renewable = bao.provider("secret", Auth::token(SecretString::from(bao.make_token("given", 2, true).await)));
    let fixed = bao.provider("secret", Auth::token(SecretString::from(bao.make_token("given", 2, false).await)));
    assert_eq!(value(&renewable, "given").await.unwrap(), "x");
    assert_eq!(value(&fixed, "given").await.unwrap(), "x");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(value(&renewable, "given").await.unwrap(), "x");
    let error = value(&fixed, "given").await.unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("give a new one"), "{error}");
}

#[tokio::test]
async fn the_root_token_never_ends_and_is_not_given_back() {
    let bao = Bao::shared();
    bao.put("secret/data/root", json!({ "value": "x" })).await;
    let openbao = bao.provider("secret", Auth::token(SecretString::from(bao.token.clone())));
    assert_eq!(value(&openbao, "root").await.unwrap(), "x");
    openbao.close().await;
    bao.get("auth/token/lookup-self").await;
}

#[tokio::test]
async fn everything_stays_in_its_namespace() {
    let bao = Bao::shared();
    bao.ensure("sys/namespaces/parcels", json!({})).await;
    let inner = bao.within("parcels");
    inner.mount_kv("kv").await;
    inner.ensure("sys/auth/approle", json!({ "type": "approle" })).await;
    inner.put("kv/data/x", json!({ "value": "inner" })).await;
    let auth = inner.role("app", &["kv/data/x"], 600, 600).await;
    let openbao = inner.provider("kv", auth.clone());
    assert_eq!(value(&openbao, "x").await.unwrap(), "inner");
    openbao.close().await;
    let error = value(&bao.provider("kv", auth), "x").await.unwrap_err();
    assert!(!error.is_not_found(), "outside there is no such login, which says nothing of the secret: {error}");
}

/// As much of Kubernetes as a login asks: whose token it is.
async fn kubernetes() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let mut length = 0;
            while !String::from_utf8_lossy(&request[..length]).contains("\"token\"") {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            let user = json!({ "username": "system:serviceaccount:prod:parcels", "uid": "u-1", "groups": [] });
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": { "authenticated": true, "user": user, "audiences": ["https://kubernetes.default.svc"] },
            });
            let body = review.to_string();
            let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, tasks)
}

/// A token as Kubernetes mounts it; who signed it only Kubernetes can say.
fn service_account() -> String {
    use base64::Engine as _;
    let part = |json: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({
        "aud": ["https://kubernetes.default.svc"],
        "exp": 4_000_000_000_u64,
        "iat": 1_700_000_000,
        "nbf": 1_700_000_000,
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:prod:parcels",
        "kubernetes.io": { "namespace": "prod", "serviceaccount": { "name": "parcels", "uid": "u-1" } },
    });
    format!("{}.{}.{}", part(json!({ "alg": "RS256", "kid": "k" })), part(claims), "c2lnbmF0dXJl")
}

#[tokio::test]
async fn a_pod_logs_in_with_its_service_account() {
    let bao = Bao::shared();
    let (host, _kubernetes) = kubernetes().await;
    bao.role("pod", &["secret/data/pod"], 600, 600).await;
    bao.put("secret/data/pod", json!({ "value": "x" })).await;
    bao.ensure("sys/mounts/pki", json!({ "type": "pki" })).await;
    let authority =
        bao.post("pki/root/generate/internal", json!({ "common_name": "kubernetes", "key_type": "ec" })).await;
    let config = json!({
        "kubernetes_host": host,
        // Never used: there is no TLS on the way there.
        "kubernetes_ca_cert": authority["data"]["certificate"],
        "token_reviewer_jwt": service_account(),
        "disable_local_ca_jwt": true,
    });
    bao.post("auth/kubernetes/config", config).await;
    let role = json!({
        "bound_service_account_names": "parcels",
        "bound_service_account_namespaces": "prod",
        "token_policies": "pod",
        "token_ttl": 600,
    });
    bao.post("auth/kubernetes/role/pod", role).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let openbao = bao.provider("secret", Auth::kubernetes("pod").service_account(&file));
    let error = value(&openbao, "pod").await.unwrap_err();
    assert!(error.is_unavailable(), "nothing is mounted yet: {error}");
    std::fs::write(&file, service_account()).unwrap();
    assert_eq!(value(&openbao, "pod").await.unwrap(), "x");

    let other = bao.provider("secret", Auth::kubernetes("nobody").service_account(&file));
    let error = value(&other, "pod").await.unwrap_err();
    assert!(error.is_denied(), "{error}");
}

/// A server with TLS; what it has is in memory.
struct Encrypted(Child);

impl Drop for Encrypted {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_own_authority_and_by_no_other() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let child = Command::new(crate::server("HB_TEST_OPENBAO_BIN"))
        .args(["server", "-dev", "-dev-no-store-token", "-dev-tls", "-dev-root-token-id=root"])
        .arg(format!("-dev-tls-cert-dir={}", folder.path().display()))
        .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = Encrypted(child.unwrap());
    let ca = folder.path().join("vault-ca.pem");
    let settings =
        || Settings::new(format!("https://127.0.0.1:{port}").parse().unwrap(), "secret", Auth::token("root")).unwrap();
    until("it has a certificate", async || {
        let trusting = ca.exists().then(|| OpenBao::new(settings().ca_file(&ca)));
        match trusting {
            // Nothing is there yet, and the server says so.
            Some(Ok(openbao)) => value(&openbao, "none").await.is_err_and(|error| error.is_not_found()),
            _ => false,
        }
    })
    .await;
    let error = value(&OpenBao::new(settings()).unwrap(), "none").await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("certificate"), "{error}");
    let nonsense = folder.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nonsense").unwrap();
    assert!(OpenBao::new(settings().ca_file(&nonsense)).is_err_and(|error| error.is_malformed()));
}

#[tokio::test]
async fn what_was_logged_in_for_is_given_back_when_the_process_ends() {
    let bao = Bao::shared();
    let auth = bao.role("ending", &["secret/data/ending"], 600, 600).await;
    bao.put("secret/data/ending", json!({ "value": "x" })).await;
    let life: Lifecycle = lifecycle();
    let secret = Secrets::builder(bao.provider("secret", auth)).policy(quick()).build(&life).get::<String>("ending");
    secret.ready().await.unwrap();
    assert!(life.stop_tasks(Duration::from_secs(5)).await);
    assert_eq!(bao.revoke_tokens_of("ending").await, 0);
    let gone = bao.ask(Method::GET, "auth/token/lookup-self", Value::Null).await;
    assert_eq!(gone.0, 200, "of others nothing was given back: {}", text(&gone.1["data"]["path"]));
}
