//! A 403: of a policy, or of a token that has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use halfbyte_secrets::ErrorKind;
use halfbyte_secrets::openbao::Auth;
use tokio::task::JoinSet;

use super::server::{Answer, Request, Server};
use super::{Bao, LOGIN, LOOK, READ, app_role, openbao, read, until, value, version};

/// One whose policies forbid `x`, in these words, and lookups unless they `may_look`.
async fn forbidding(bao: &Bao, words: &'static str, may_look: bool) -> Server {
    let bao = bao.clone();
    Server::start(move |request| {
        if request.line == LOOK && !may_look {
            return Answer::no(403, "permission denied");
        }
        bao.answer(request).unwrap_or_else(|| allowed(request, words))
    })
    .await
}

fn allowed(request: &Request, words: &str) -> Answer {
    match request.line.as_str() {
        READ => Answer::no(403, words),
        line if line.ends_with("/missing") => Answer::no(404, ""),
        _ => Answer::ok(version(1, r#"{"value":"y"}"#)),
    }
}

#[tokio::test]
async fn what_a_policy_forbids_is_denied_and_costs_one_login_at_most() {
    for (words, may_look, logins, looks) in [
        ("1 error occurred: permission denied", true, 1, 20),
        // The server does not tell: one login does.
        ("permission denied", false, 2, 20),
        // The server tells, and tells it of a token that is new: with that its word is doubted.
        ("permission denied, invalid token", true, 2, 0),
        ("permission denied, invalid token", false, 2, 0),
    ] {
        let server = forbidding(&Bao::new(), words, may_look).await;
        let openbao = openbao(&server, app_role());
        for _ in 0..20 {
            let error = read(&openbao, "x").await.expect_err("forbidden");
            assert!(error.is_denied() && error.to_string().contains("secret/data/app/x"), "{error}");
        }
        let counted = (server.count(LOGIN), server.count(LOOK));
        assert_eq!(counted, (logins, looks), "{words}, may look {may_look}");
        assert_eq!(server.count(READ), 20 + logins - 1, "one more try for each login");
    }
}

#[tokio::test]
async fn fifty_who_are_forbidden_at_once_cost_one_login() {
    let server = forbidding(&Bao::new(), "permission denied", false).await;
    let openbao = openbao(&server, app_role());
    for _ in 0..2 {
        let mut readers = JoinSet::new();
        for _ in 0..50 {
            let openbao = openbao.clone();
            readers.spawn(async move { read(&openbao, "x").await.expect_err("forbidden") });
        }
        assert!(readers.join_all().await.iter().all(halfbyte_secrets::Error::is_denied));
    }
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn a_token_that_has_ended_is_replaced_though_a_policy_forbids_other_things() {
    for may_look in [true, false] {
        let bao = Bao::new();
        let server = forbidding(&bao, "permission denied", may_look).await;
        let openbao = openbao(&server, app_role());
        value(&openbao, "y").await.expect("allowed");
        for _ in 0..3 {
            read(&openbao, "x").await.expect_err("forbidden");
        }
        for _ in 0..3 {
            let logins = server.count(LOGIN);
            bao.revoke();
            for _ in 0..2 {
                assert_eq!(value(&openbao, "y").await.expect("allowed"), "y", "may look {may_look}");
            }
            assert_eq!(server.count(LOGIN), logins + 1, "may look {may_look}");
            // So that a login in doubt rests again.
            read(&openbao, "x").await.expect_err("forbidden");
        }
    }
}

#[tokio::test]
async fn what_was_found_missing_was_allowed_and_is_worth_a_login() {
    let bao = Bao::new();
    let server = forbidding(&bao, "permission denied", false).await;
    let openbao = openbao(&server, app_role());
    assert!(read(&openbao, "missing").await.is_err_and(|error| error.is_not_found()));
    read(&openbao, "x").await.expect_err("forbidden");
    bao.revoke();
    assert!(read(&openbao, "missing").await.is_err_and(|error| error.is_not_found()));
    assert_eq!(server.count(LOGIN), 3);
    bao.revoke();
    value(&openbao, "y").await.expect("that answer ended the rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_is_refused_with_a_token_that_was_replaced_meanwhile_asks_with_the_new_one() {
    let bao = Bao::new();
    let (release, gate) = mpsc::channel::<()>();
    let (inner, gate) = (bao.clone(), Mutex::new(gate));
    let server = Server::start(move |request| {
        if request.line == LOOK {
            return Answer::no(403, "permission denied");
        }
        if request.line.ends_with("/late") && request.token() == "s.2" {
            let wait = || gate.lock().expect("one at a time").recv_timeout(Duration::from_secs(10));
            tokio::task::block_in_place(wait).expect("released");
        }
        inner.answer(request).unwrap_or_else(|| allowed(request, "permission denied"))
    })
    .await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "y").await.expect("allowed");
    read(&openbao, "x").await.expect_err("forbidden, and from now on a login for what was never answered rests");
    bao.revoke();
    let late = JoinSet::from_iter([{
        let openbao = openbao.clone();
        async move { value(&openbao, "late").await }
    }]);
    until("it is asked", || server.count("GET /v1/secret/data/app/late") == 1).await;
    value(&openbao, "y").await.expect("by a new login");
    read(&openbao, "x").await.expect_err("forbidden, and now it rests again");
    release.send(()).expect("waited for");
    assert_eq!(late.join_all().await.pop().expect("one").expect("allowed"), "y");
    assert_eq!(bao.logins(), 4);
}

#[tokio::test]
async fn what_was_never_read_before_is_worth_a_login_as_well() {
    let bao = Bao::new();
    let server = forbidding(&bao, "permission denied", false).await;
    let openbao = openbao(&server, app_role());
    for name in ["y", "z"] {
        bao.revoke();
        assert_eq!(value(&openbao, name).await.expect("allowed"), "y");
    }
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn a_server_in_trouble_when_it_is_asked_about_the_token_denies_nothing() {
    for (status, kind) in [
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (0, ErrorKind::Unavailable),
    ] {
        let bao = Bao::new();
        let inner = bao.clone();
        let server = Server::start(move |request| match request.line.as_str() {
            LOOK => Answer::no(status, ""),
            _ => inner.answer(request).unwrap_or_else(|| allowed(request, "permission denied")),
        })
        .await;
        let openbao = openbao(&server, app_role());
        value(&openbao, "y").await.expect("allowed");
        bao.revoke();
        for name in ["y", "x"] {
            let error = read(&openbao, name).await.expect_err("nobody knows");
            assert!(error.kind() == kind && error.is_temporary(), "{status}: {error}");
            assert!(error.to_string().contains(&format!("refused secret/data/app/{name}")), "{error}");
        }
        assert_eq!(server.count(LOGIN), 1);
    }
}

#[tokio::test]
async fn a_server_that_has_no_look_at_a_token_does_not_tell_and_one_login_does() {
    let bao = Bao::new();
    let inner = bao.clone();
    let server = Server::start(move |request| match request.line.as_str() {
        LOOK => Answer::no(404, "unsupported path"),
        _ => inner.answer(request).unwrap_or_else(|| allowed(request, "permission denied")),
    })
    .await;
    let openbao = openbao(&server, app_role());
    for _ in 0..3 {
        assert!(read(&openbao, "x").await.is_err_and(|error| error.is_denied()));
    }
    assert_eq!(server.count(LOGIN), 2);
    value(&openbao, "y").await.expect("allowed");
    bao.revoke();
    value(&openbao, "y").await.expect("by a new login");
}

#[tokio::test]
async fn a_server_in_trouble_after_the_login_says_nothing_of_policies() {
    let (bao, is_sealed) = (Bao::new(), Arc::new(AtomicBool::new(false)));
    let (inner, sealed) = (bao.clone(), is_sealed.clone());
    let server = Server::start(move |request| match (request.line.as_str(), inner.answer(request)) {
        (LOOK, _) => Answer::no(403, "permission denied"),
        (LOGIN, Some(login)) => {
            sealed.store(inner.logins() == 3, Ordering::SeqCst);
            login
        }
        (_, Some(answer)) => answer,
        _ if sealed.load(Ordering::SeqCst) => Answer::no(503, "Vault is sealed"),
        _ => allowed(request, "permission denied"),
    })
    .await;
    let openbao = openbao(&server, app_role());
    value(&openbao, "y").await.expect("allowed");
    read(&openbao, "x").await.expect_err("forbidden, and from now on a login for what was never answered rests");
    bao.revoke();
    let error = read(&openbao, "y").await.expect_err("sealed after the login");
    assert!(error.is_unavailable(), "{error}");
    is_sealed.store(false, Ordering::SeqCst);
    bao.revoke();
    let error = read(&openbao, "z").await.expect_err("it still rests");
    assert!(error.is_denied() && bao.logins() == 3, "{error}");
    value(&openbao, "y").await.expect("allowed");
    assert_eq!(bao.logins(), 4);
    bao.revoke();
    value(&openbao, "z").await.expect("it rests no more, since the last one helped");
    assert_eq!(bao.logins(), 5);
}

#[tokio::test]
async fn a_token_that_was_given_and_may_not_look_at_itself_is_used_and_what_is_forbidden_says_both() {
    let bao = Bao::new();
    bao.valid().insert("s.given".into());
    let server = forbidding(&bao, "permission denied", false).await;
    let openbao = openbao(&server, Auth::token("s.given"));
    assert_eq!(value(&openbao, "y").await.expect("allowed"), "y");
    for _ in 0..3 {
        let error = read(&openbao, "x").await.expect_err("forbidden");
        assert!(
            error.is_denied() && error.to_string().contains("has ended or was revoked, or its policies"),
            "{error}"
        );
    }
    assert_eq!(value(&openbao, "y").await.expect("allowed"), "y");
    assert_eq!(server.count(LOGIN), 0);
}
