//! The life of a login token: renewed, replaced, read anew, given back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use halfbyte_secrets::Provider as _;
use halfbyte_secrets::openbao::{Auth, Credential};

use super::server::{Answer, Server};
use super::{Bao, LOGIN, LOOK, RENEW, REVOKE, app_role, openbao, read, skip, until, value, version};

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_replaced_when_it_shrinks() {
    let bao = Bao::with_ttl(1, 1);
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    until("two renewals", || server.count(RENEW) >= 2).await;
    assert_eq!(server.count(LOGIN), 1, "it is renewed, not replaced");
    assert!(server.asked().iter().filter(|request| request.line == RENEW).all(|request| request.token() == "s.1"));
    // `max_ttl` is near.
    bao.0.ttl.store(30, Ordering::SeqCst);
    bao.0.renewed_ttl.store(0, Ordering::SeqCst);
    until("a login", || server.count(LOGIN) == 2).await;
    value(&openbao, "x").await.expect("there");
    assert_eq!(server.asked().last().map(|request| request.token().to_owned()).as_deref(), Some("s.2"));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_any_more_is_replaced() {
    let bao = Bao::with_ttl(1, 1);
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    bao.revoke();
    until("a login", || server.count(LOGIN) >= 2).await;
    assert!(server.count(RENEW) >= 1);
}

#[tokio::test]
async fn a_token_that_was_given_is_renewed_and_denied_when_it_ended_and_never_given_back() {
    let bao = Bao::with_ttl(1, 1);
    bao.valid().insert("s.given".into());
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, Auth::token("s.given"));
    value(&openbao, "x").await.expect("there");
    until("a renewal", || server.count(RENEW) >= 1).await;
    bao.revoke();
    let error = value(&openbao, "x").await.expect_err("ended");
    assert!(error.is_denied() && error.to_string().contains("was given has ended"), "{error}");
    bao.valid().insert("s.given".into());
    openbao.close().await;
    assert_eq!((server.count(REVOKE), server.count(LOGIN)), (0, 0));
}

#[tokio::test]
async fn a_token_in_a_file_is_read_anew_when_it_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let bao = Bao::new();
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, Auth::token(Credential::file(&file)));
    let error = read(&openbao, "x").await.expect_err("no file");
    assert!(error.is_unavailable(), "that a token is missing does not say that a secret is: {error}");
    for token in ["s.one", "s.two"] {
        bao.revoke();
        bao.valid().insert(token.into());
        std::fs::write(&file, token).expect("written");
        value(&openbao, "x").await.expect("there");
        assert_eq!(server.asked().last().map(|request| request.token().to_owned()).as_deref(), Some(token));
    }
}

#[tokio::test]
async fn what_was_logged_in_for_is_given_back_at_the_end_and_nothing_is_asked_after_it() {
    let bao = Bao::new();
    let server = bao.serve(|_| Answer::ok(version(1, r#"{"value":"x"}"#))).await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "x").await.expect("there");
    openbao.close().await;
    assert!(bao.valid().is_empty());
    assert_eq!(server.count(REVOKE), 1);
    let asked = server.asked().len();
    assert!(read(&openbao, "x").await.is_err_and(|error| error.is_unavailable()));
    openbao.close().await;
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn a_token_that_was_given_is_tried_though_it_should_have_ended() {
    let server = Server::start(|request| match request.line.as_str() {
        LOOK => Answer::ok(r#"{"data":{"ttl":1,"renewable":false}}"#),
        _ => Answer::ok(version(1, r#"{"value":"x"}"#)),
    })
    .await;
    let openbao = openbao(&server, Auth::token("s.given"));
    value(&openbao, "x").await.expect("there");
    skip(Duration::from_secs(2)).await;
    value(&openbao, "x").await.expect("somebody else has renewed it");
}
