//! A server that says no, is behind, slow or not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::{ErrorKind, ExposeSecret as _, Secrets};
use tokio::time::{sleep, timeout};

use super::server::{Answer, Request, Server};
use super::{Bao, LOGIN, READ, app_role, openbao, read, skip, value, version};
use crate::{chain, lifecycle};

#[tokio::test]
async fn every_fault_has_its_kind_and_shows_nothing_secret() {
    let huge = "hunter2".repeat(200_000);
    for (status, body, kind, says) in [
        (404, version(3, "null"), ErrorKind::NotFound, "version 3 of x was deleted"),
        (404, r#"{"errors":[]}"#.into(), ErrorKind::NotFound, "secret/data/app/x"),
        (404, r#"{"errors":["no handler for route \"hunter2\""]}"#.into(), ErrorKind::Denied, "mount it"),
        (403, r#"{"errors":["permission denied hunter2"]}"#.into(), ErrorKind::Denied, "policies"),
        (472, "hunter2".into(), ErrorKind::Unavailable, "disaster"),
        (473, "hunter2".into(), ErrorKind::Unavailable, "performance"),
        (501, r#"{"errors":["hunter2"]}"#.into(), ErrorKind::Unavailable, "operator init"),
        (503, r#"{"errors":["Vault is sealed"]}"#.into(), ErrorKind::Unavailable, "unseal"),
        (500, "<html>hunter2".into(), ErrorKind::Unavailable, "log"),
        (307, String::new(), ErrorKind::Unavailable, "active server"),
        (200, "hunter2".into(), ErrorKind::Malformed, "no JSON"),
        (200, r#"{"data":{"value":"hunter2"}}"#.into(), ErrorKind::Malformed, "another JSON"),
        (200, String::new(), ErrorKind::Malformed, "no JSON"),
        (200, huge, ErrorKind::Malformed, "too large"),
        (0, String::new(), ErrorKind::Unavailable, "failed"),
    ] {
        let answer = body.clone();
        let server = Bao::new().serve(move |_| Answer(status, "", answer.clone())).await;
        let openbao = openbao(&server, app_role());
        let error = read(&openbao, "x").await.expect_err("a fault");
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains(says), "{status}: {error}");
        for shown in [chain(&error), format!("{error:?}"), format!("{openbao:?}")] {
            for secret in ["hunter2", "s.1"] {
                assert!(!shown.contains(secret), "{status}: {shown}");
            }
        }
    }
}

#[tokio::test]
async fn what_lags_behind_is_asked_again_a_few_times() {
    for (lagging, expected) in [(2, Ok(())), (3, Ok(())), (4, Err(ErrorKind::Unavailable))] {
        let asked = AtomicUsize::new(0);
        let answer = move |_: &Request| {
            if asked.fetch_add(1, Ordering::SeqCst) < lagging {
                return Answer(412, "", String::new());
            }
            Answer::ok(version(1, r#"{"value":"x"}"#))
        };
        let server = Bao::new().serve(answer).await;
        let read = read(&openbao(&server, app_role()), "x").await;
        assert_eq!(read.map(drop).map_err(|error| error.kind()), expected, "{lagging}");
        assert_eq!(server.count(READ), lagging.min(3) + 1);
    }
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_left_alone_for_as_long_and_for_a_minute_at_most() {
    for (header, seconds) in [("retry-after: 1\r\n", 1), ("retry-after: 3600\r\n", 60)] {
        let asked = AtomicUsize::new(0);
        let answer = move |_: &Request| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Answer(429, header, String::new()),
            _ => Answer::ok(version(1, r#"{"value":"x"}"#)),
        };
        let server = Bao::new().serve(answer).await;
        let openbao = openbao(&server, app_role());
        for _ in 0..20 {
            let error = read(&openbao, "x").await.expect_err("throttled");
            assert!(error.is_throttled() && error.is_temporary(), "{error}");
        }
        assert_eq!(server.count(READ), 1);
        skip(Duration::from_secs(seconds)).await;
        assert_eq!(value(&openbao, "x").await.expect("there"), "x");
    }
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_unavailable_and_then_served_from_when_it_is_quicker() {
    let hangs = Arc::new(AtomicBool::new(true));
    let slow = hangs.clone();
    let bao = Bao::new();
    let server = bao
        .serve(move |_| match slow.load(Ordering::SeqCst) {
            // Longer than the policy waits.
            true => Answer(1, "", String::new()),
            false => Answer::ok(version(1, r#"{"value":"x"}"#)),
        })
        .await;
    let often = Duration::from_millis(20);
    let policy = Policy { fetch_timeout: 10 * often, backoff: often, max_backoff: often, ..Policy::default() };
    let life = lifecycle();
    let secrets = Secrets::builder(openbao(&server, app_role())).policy(policy).build(&life);
    let secret = secrets.get::<String>("x");
    let error = secret.ready().await.expect_err("too long");
    assert!(error.is_unavailable(), "{}", chain(&error));
    hangs.store(false, Ordering::SeqCst);
    timeout(Duration::from_secs(10), secret.changed(0)).await.expect("it is quicker");
    assert_eq!(secret.load().expect("loaded").expose_secret(), "x");
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn a_dynamic_secret_is_made_once_by_a_read_whatever_the_answer() {
    for answer in [(503, "Vault is sealed"), (429, ""), (502, ""), (400, "unknown role: app")] {
        let server = Bao::new().serve(move |_| Answer::no(answer.0, answer.1)).await;
        let error = read(&openbao(&server, app_role()), "db").await.expect_err("refused");
        assert_eq!(server.count("GET /v1/database/creds/app"), 1, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = Server::start(|_| Answer::ok("")).await;
    let openbao = openbao(&server, app_role());
    drop(server);
    sleep(Duration::from_millis(20)).await;
    let error = read(&openbao, "x").await.expect_err("nobody");
    assert!(error.is_unavailable() && error.to_string().contains("reached"), "{}", chain(&error));
}
