//! What it logs in with, and its token, are masked as secrets are.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_core::fingerprint::{REMEMBERED, mask, register};
use halfbyte_secrets::firewall::MaskWriter;
use halfbyte_secrets::openbao::{Auth, Credential};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;

use super::server::{Answer, Server};
use super::{openbao, read, version};

/// One that gives `token` to whoever logs in.
async fn giving(token: &'static str) -> Server {
    Server::start(move |request| match request.line.starts_with("POST /v1/auth/") {
        true => {
            Answer::ok(format!(r#"{{"auth":{{"client_token":"{token}","lease_duration":3600,"renewable":true}}}}"#))
        }
        false if request.line.ends_with("lookup-self") => Answer::ok(r#"{"data":{"ttl":3600,"renewable":true}}"#),
        false => Answer::ok(version(1, r#"{"value":"x"}"#)),
    })
    .await
}

/// Whatever is no longer live is forgotten.
fn forget() {
    for n in 0..=REMEMBERED {
        drop(register(format!("one of many other tokens: {n}").as_bytes()));
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `text` as a line of the log has it.
fn logged(text: &str) -> String {
    let log = Log::default();
    let to = log.clone();
    let layer = fmt::layer().with_writer(MaskWriter::new(move || to.clone()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || tracing::info!("it is {text}."));
    let bytes = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn what_a_running_provider_logs_in_with_is_masked_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("written");
        folder.path().join(name)
    };
    let jwt = file("jwt", "eyJ.the-jwt-of-a-pod.c2ln\n");
    let (id, token) = (file("id", "secret-id-in-a-file"), file("token", "hvs.token-in-a-file"));
    let (login, role) = ("hvs.token-of-a-login", "the-orders-role");
    let server = giving(login).await;
    let mut running = Vec::new();
    for auth in [
        Auth::token("hvs.token-that-is-given"),
        Auth::token(Credential::file(token)),
        Auth::app_role(role, "secret-id-that-is-given"),
        Auth::app_role(role, Credential::file(id)),
        Auth::kubernetes(role).service_account(jwt),
    ] {
        let openbao = openbao(&server, auth);
        read(&openbao, "x").await.expect("there");
        running.push(openbao);
    }
    forget();
    for secret in [
        login,
        "hvs.token-that-is-given",
        "hvs.token-in-a-file",
        "secret-id-that-is-given",
        "secret-id-in-a-file",
        "eyJ.the-jwt-of-a-pod.c2ln",
    ] {
        let line = logged(secret);
        assert!(line.contains("it is [REDACTED].") && !line.contains(secret), "{line}");
    }
    assert!(logged(role).contains(role), "a role is no secret");
    drop(running);
}

#[tokio::test]
async fn it_is_known_before_it_is_used_and_no_longer_than_it_is_kept() {
    let server = giving("hvs.token-of-another-login").await;
    let openbao = openbao(&server, Auth::app_role("role", "secret-id-of-a-short-life"));
    assert_eq!(mask("secret-id-of-a-short-life"), "[REDACTED]", "before anything is asked");
    assert_eq!(mask("hvs.token-of-another-login"), "hvs.token-of-another-login");
    read(&openbao, "x").await.expect("there");
    drop(openbao);
    // The task that keeps the token ends when it is its turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    forget();
    // What is forgotten goes with the next secret that comes.
    drop(register(b"yet another token"));
    for secret in ["secret-id-of-a-short-life", "hvs.token-of-another-login"] {
        assert_eq!(mask(secret), secret);
    }
}

#[tokio::test]
async fn a_token_from_a_file_is_masked_while_the_server_cannot_say_whether_it_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "hvs.token-of-a-server-in-trouble").expect("written");
    let server = Server::start(|_| Answer::no(503, "Vault is sealed")).await;
    let openbao = openbao(&server, Auth::token(Credential::file(file)));
    assert!(read(&openbao, "x").await.is_err_and(|error| error.is_unavailable()));
    forget();
    assert_eq!(mask("hvs.token-of-a-server-in-trouble"), "[REDACTED]");
    drop(openbao);
}
