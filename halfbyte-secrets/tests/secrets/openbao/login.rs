//! Being let in, once for all who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halfbyte_secrets::Error;
use halfbyte_secrets::openbao::OpenBao;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::{Answer, Server};
use super::{Bao, LOGIN, app_role, openbao, skip, value, version};

async fn read_by_fifty(openbao: &OpenBao) -> Vec<Result<String, Error>> {
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let openbao = openbao.clone();
        readers.spawn(async move { value(&openbao, "x").await });
    }
    readers.join_all().await
}

#[tokio::test]
async fn fifty_readers_log_in_once_and_once_again_when_the_token_is_revoked() {
    let bao = Bao::new();
    let server = bao.serve_after(Duration::from_millis(5), |_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    for logins in 1..=3 {
        let values = read_by_fifty(&openbao).await;
        assert!(values.into_iter().all(|value| value.is_ok_and(|value| value == "x")));
        assert_eq!(server.count(LOGIN), logins);
        bao.revoke();
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_refused_to_all_who_wait_and_not_tried_again_at_once() {
    let server = Server::slow(Duration::from_millis(20), |_| Answer::no(400, "invalid role or secret ID")).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..3 {
        for value in read_by_fifty(&openbao).await {
            let error = value.expect_err("refused");
            assert!(error.is_denied() && error.to_string().contains("invalid role or secret id"), "{error}");
        }
    }
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn a_reader_who_gives_up_in_the_middle_of_a_login_is_in_nobodys_way() {
    let server =
        Bao::new().serve_after(Duration::from_millis(100), |_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    let gave_up = timeout(Duration::from_millis(30), value(&openbao, "x")).await;
    assert!(gave_up.is_err());
    assert_eq!(value(&openbao, "x").await.expect("there"), "x");
}

#[tokio::test]
async fn after_a_login_that_worked_a_refusal_rests_as_the_first_did() {
    let (bao, is_open) = (Bao::new(), Arc::new(AtomicBool::new(false)));
    let (inner, open) = (bao.clone(), is_open.clone());
    let server = Server::start(move |request| match inner.answer(request) {
        _ if request.line == LOGIN && !open.load(Ordering::SeqCst) => Answer::no(400, "invalid role or secret ID"),
        Some(answer) => answer,
        None => Answer::ok(version(1, r#"{"value":"x"}"#)),
    })
    .await;
    let openbao = openbao(&server, app_role());
    for _ in 0..2 {
        is_open.store(false, Ordering::SeqCst);
        bao.revoke();
        value(&openbao, "x").await.expect_err("refused");
        is_open.store(true, Ordering::SeqCst);
        value(&openbao, "x").await.expect_err("it rests");
        skip(Duration::from_millis(1_050)).await;
        value(&openbao, "x").await.expect("it rests no more");
    }
}

#[tokio::test]
async fn a_login_that_is_throttled_is_not_tried_again_at_once() {
    let server = Server::start(|_| Answer::no(429, "")).await;
    let openbao = openbao(&server, app_role());
    for logins in [1, 2] {
        for _ in 0..3 {
            assert!(value(&openbao, "x").await.is_err_and(|error| error.is_throttled()));
        }
        assert_eq!(server.count(LOGIN), logins);
        skip(Duration::from_millis(1_050)).await;
    }
}

#[tokio::test]
async fn a_login_that_wants_another_proof_is_denied() {
    let server =
        Server::start(|_| Answer::ok(r#"{"auth":{"client_token":"","lease_duration":0,"renewable":false}}"#)).await;
    let error = value(&openbao(&server, app_role()), "x").await.expect_err("half a login");
    assert!(error.is_denied() && error.to_string().contains("MFA"), "{error}");
    assert_eq!(server.asked().len(), 1);
}
