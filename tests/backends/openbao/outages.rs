//! A server that is sealed, stopped, or not there yet.

use std::time::Duration;

use halfbyte::secrets::{ExposeSecret as _, Secrets};
use serde_json::json;
use tokio::time::timeout;

use super::{Instance, lifecycle, quick, until, value};

#[tokio::test]
async fn what_was_read_is_served_while_the_server_is_sealed_and_rotated_after_it() {
    let instance = Instance::started().await;
    let bao = &instance.bao;
    let auth = bao.role("app", &["secret/data/*"], 600, 600).await;
    bao.put("secret/data/x", json!({ "value": "one" })).await;
    let openbao = bao.provider("secret", auth);
    let life = lifecycle();
    let secret = Secrets::builder(openbao.clone()).policy(quick()).build(&life).get::<String>("x");
    secret.ready().await.unwrap();

    instance.seal().await;
    let error = value(&openbao, "x").await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("it is sealed; `bao operator unseal`"), "{error}");
    until("it is noticed", async || secret.status().failures > 2).await;
    assert_eq!(secret.load().unwrap().expose_secret(), "one");

    instance.unseal().await;
    bao.put("secret/data/x", json!({ "value": "two" })).await;
    timeout(Duration::from_secs(10), secret.changed(1)).await.expect("it is back");
    assert_eq!(secret.load().unwrap().expose_secret(), "two");
}

#[tokio::test]
async fn a_process_that_starts_while_the_server_is_stopped_is_ready_once_it_is_back() {
    let mut instance = Instance::started().await;
    let auth = instance.bao.role("app", &["secret/data/*"], 600, 600).await;
    instance.bao.put("secret/data/x", json!({ "value": "one" })).await;
    instance.stop();

    let openbao = instance.bao.provider("secret", auth);
    let life = lifecycle();
    let secret = Secrets::builder(openbao.clone()).policy(quick()).build(&life).get::<String>("x");
    let error = secret.ready().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(value(&openbao, "x").await.unwrap_err().to_string().contains("cannot be reached"));
    assert!(secret.load().is_err());

    instance.start().await;
    let error = value(&openbao, "x").await.unwrap_err();
    assert!(error.to_string().contains("sealed"), "it cannot log in either: {error}");
    instance.unseal().await;
    timeout(Duration::from_secs(10), secret.changed(0)).await.expect("it is back");
    assert_eq!(secret.load().unwrap().expose_secret(), "one");
}
