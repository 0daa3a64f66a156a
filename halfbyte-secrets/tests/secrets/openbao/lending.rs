//! Credentials that are made on demand, and their leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use halfbyte_secrets::{Lease, Provider as _, Reading, Secrets};

use super::super::lifecycle;
use super::server::{Answer, Server};
use super::{Bao, LOGIN, app_role, credential, openbao, read, skip};

fn lease(reading: &Reading) -> Lease {
    reading.lent().expect("lent").clone()
}

#[tokio::test]
async fn a_credential_is_lent_for_no_longer_than_its_token_lasts() {
    for (token, renewed, lent, at_most) in [(3600, 3600, 60, 60), (20, 20, 60, 20), (5, 3600, 60, 60)] {
        let bao = Bao::with_ttl(token, renewed);
        let server = bao.serve(move |_| Answer::ok(credential("database/creds/app/1", lent))).await;
        let openbao = openbao(&server, app_role());
        // So that renewing the token makes a difference.
        read(&openbao, "db").await.expect("there");
        skip(Duration::from_millis(600)).await;
        let reading = read(&openbao, "db").await.expect("there");
        assert_eq!(reading.value(), Some(&br#"{"username":"u","password":"hunter2"}"#[..]));
        let ttl = lease(&reading).ttl();
        let least = Duration::from_secs(at_most).saturating_sub(Duration::from_secs(10));
        assert!(ttl <= Duration::from_secs(at_most) && ttl > least, "{token} {renewed}: {ttl:?}");
        assert!(lease(&reading).is_renewable());
    }
}

#[tokio::test]
async fn what_is_used_for_no_longer_than_its_token_is_given_back_for_as_long_as_it_lasts() {
    let (bao, lent) = (Bao::with_ttl(600, 600), AtomicUsize::new(0));
    let server = bao
        .serve(move |request| match request.line.starts_with("GET") {
            true => {
                Answer::ok(credential(&format!("database/creds/app/{}", lent.fetch_add(1, Ordering::SeqCst)), 3600))
            }
            false => Answer(204, "", String::new()),
        })
        .await;
    let lifecycle = lifecycle();
    let secret = Secrets::new(openbao(&server, app_role()), &lifecycle).get::<String>("db");
    secret.ready().await.expect("lent");
    // The first one is not used any more, so nobody renews it, while its token is renewed.
    let second = secret.reject(1).await.expect("another").generation();
    skip(Duration::from_secs(500)).await;
    let third = secret.reject(second).await.expect("another").generation();
    skip(Duration::from_secs(500)).await;
    secret.reject(third).await.expect("another");
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    let asked = server.asked();
    let revoked = asked.iter().filter(|request| request.line == "POST /v1/sys/leases/revoke");
    let revoked: Vec<_> = revoked.map(|request| request.body.as_str()).collect();
    assert!(revoked.contains(&r#"{"lease_id":"database/creds/app/0"}"#), "{revoked:?}");
}

#[tokio::test]
async fn nothing_is_borrowed_with_a_token_that_is_about_to_end_unless_there_is_no_other() {
    let bao = Bao::with_ttl(6, 6);
    bao.0.renewable.store(false, Ordering::SeqCst);
    let is_open = Arc::new(AtomicBool::new(true));
    let open = is_open.clone();
    let (inner, credential) = (bao.clone(), credential("database/creds/app/1", 60));
    let server = Server::start(move |request| match inner.answer(request) {
        Some(_) if request.line == LOGIN && !open.load(Ordering::SeqCst) => {
            Answer::no(400, "invalid role or secret ID")
        }
        Some(answer) => answer,
        None => Answer::ok(credential.clone()),
    })
    .await;
    let openbao = openbao(&server, app_role());
    for closed in [false, true] {
        read(&openbao, "db").await.expect("there");
        is_open.store(!closed, Ordering::SeqCst);
        skip(Duration::from_millis(3_100)).await;
        let ttl = lease(&read(&openbao, "db").await.expect("there")).ttl();
        // Of a new token, or of what is left of the old one.
        assert_eq!(ttl < Duration::from_secs(3), closed, "{ttl:?}");
    }
}

#[tokio::test]
async fn what_was_lent_to_a_token_that_was_replaced_is_not_renewed() {
    let bao = Bao::new();
    let server = bao
        .serve(|request| match request.line.as_str() {
            "POST /v1/sys/leases/renew" => Answer::ok(credential("database/creds/app/1", 60)),
            "POST /v1/sys/leases/revoke" => Answer(204, "", String::new()),
            _ => Answer::ok(credential("database/creds/app/1", 60)),
        })
        .await;
    let openbao = openbao(&server, app_role());
    let first = lease(&read(&openbao, "db").await.expect("there"));
    let renewed = openbao.renew(&first).await.expect("renewed");
    assert_eq!((renewed.id(), renewed.ttl()), ("database/creds/app/1", Duration::from_secs(60)));
    bao.revoke();
    let error = openbao.renew(&renewed).await.expect_err("its token is gone, and it with it");
    assert!(error.is_not_found() && error.to_string().contains("replaced"), "{error}");
    openbao.revoke(&renewed).await.expect("revoked");
    let last = server.asked().pop().expect("asked");
    assert_eq!(last.body, r#"{"lease_id":"database/creds/app/1"}"#);
}
