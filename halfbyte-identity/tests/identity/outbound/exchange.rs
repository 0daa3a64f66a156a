//! Tokens on behalf of a caller.

use std::sync::Arc;

use halfbyte_identity::outbound::{AccessToken, ErrorKind, OAuthClient};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::scripted::{Answer, Scripted, ok};
use crate::support::NOW;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn exchanged(serial: usize, expires_in: u64) -> Answer {
    ok(&json!({"access_token": format!("t-{serial}"), "token_type": "Bearer", "expires_in": expires_in,
               "issued_token_type": ACCESS_TOKEN}))
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::from_second(NOW + seconds).expect("in range"))
}

async fn text(
    client: &OAuthClient,
    subject: &str,
    until: Option<Timestamp>,
    audience: &str,
    scopes: &[&str],
) -> String {
    let token = client.exchange(&subject.into(), until, audience, scopes).await.expect("exchanged");
    token.secret().expose_secret().to_owned()
}

#[tokio::test]
async fn it_is_asked_for_as_rfc_8693_says() {
    let issuer = Scripted::start(|serial, _| exchanged(serial, 300)).await;
    let token = issuer.client().exchange(&"anns".into(), None, "clinic", &["a"]).await.expect("exchanged");
    assert!(token.expires_at() >= at(300) && token.expires_at() < at(330), "{token:?}");
    let asked = &issuer.asked()[0];
    assert_eq!(asked.path, "/token");
    assert!(asked.authorization.starts_with("Basic "));
    let form: Vec<_> = asked.form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("audience", "clinic"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", ACCESS_TOKEN),
        ("scope", "a"),
        ("subject_token", "anns"),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(form, expected);
}

#[tokio::test]
async fn a_token_is_kept_for_its_caller_audience_and_scopes_and_for_no_others() {
    let issuer = Scripted::start(|serial, _| exchanged(serial, 300)).await;
    let client = issuer.client();
    assert_eq!(text(&client, "anns", None, "clinic", &["a", "b"]).await, "t-0");
    assert_eq!(text(&client.clone(), "anns", None, "clinic", &["b", "a"]).await, "t-0");
    assert_eq!(text(&client, "bobs", None, "clinic", &["a", "b"]).await, "t-1");
    assert_eq!(text(&client, "anns", None, "parcel", &["a", "b"]).await, "t-2");
    assert_eq!(text(&client, "anns", None, "clinic", &["a"]).await, "t-3");
    assert_eq!(text(&client, "anns", None, "clinic", &["a", "b"]).await, "t-0");
}

#[tokio::test]
async fn it_is_renewed_shortly_before_it_expires() {
    let issuer = Scripted::start(|serial, _| exchanged(serial, 300)).await;
    let client = issuer.client();
    assert_eq!(text(&client, "anns", None, "clinic", &[]).await, "t-0");
    issuer.jump(260);
    assert_eq!(text(&client, "anns", None, "clinic", &[]).await, "t-0");
    issuer.jump(20);
    assert_eq!(text(&client, "anns", None, "clinic", &[]).await, "t-1");
    issuer.jump(-100);
    assert_eq!(text(&client, "anns", None, "clinic", &[]).await, "t-2", "a clock set back keeps nothing longer");
}

#[tokio::test]
async fn it_does_not_outlive_the_token_that_it_was_exchanged_for() {
    let issuer = Scripted::start(|serial, _| exchanged(serial, 3600)).await;
    let client = issuer.client();
    assert_eq!(text(&client, "anns", at(100), "clinic", &[]).await, "t-0");
    issuer.jump(50);
    assert_eq!(text(&client, "anns", at(100), "clinic", &[]).await, "t-0");
    issuer.jump(50);
    let error = client.exchange(&"anns".into(), at(100), "clinic", &[]).await.expect_err("expired");
    assert_eq!((error.kind(), issuer.calls()), (ErrorKind::Expired, 1));
    assert_eq!(text(&client, "anns", None, "clinic", &[]).await, "t-1", "what was kept ended with the subject's token");
}

#[tokio::test]
async fn a_hundred_who_wait_for_the_same_cost_one_call_and_share_its_error_which_is_not_kept() {
    let issuer = Scripted::start(|serial, _| match serial {
        0 => (400, json!({"error": "invalid_grant"}).to_string()),
        _ => exchanged(serial, 300),
    })
    .await;
    let client = Arc::new(issuer.client());
    for (call, is_good) in [false, true].into_iter().enumerate() {
        let mut waiting: JoinSet<Result<AccessToken, _>> = JoinSet::new();
        for _ in 0..100 {
            let client = client.clone();
            waiting.spawn(async move { client.exchange(&SecretString::from("anns"), None, "clinic", &[]).await });
        }
        for outcome in waiting.join_all().await {
            match outcome {
                Ok(_) => assert!(is_good),
                Err(error) => assert_eq!((is_good, error.code()), (false, Some("invalid_grant"))),
            }
        }
        assert_eq!(issuer.calls(), call + 1);
    }
}

#[tokio::test]
async fn a_token_of_another_type_or_none_is_refused_and_not_kept() {
    let good = json!({"access_token": "secret-t", "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN});
    let changed = |name: &str, value: Value| {
        let mut answer = good.clone();
        answer[name] = value;
        answer
    };
    for answer in [
        changed("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
        changed("issued_token_type", json!("urn:ietf:params:oauth:token-type:saml2")),
        changed("issued_token_type", Value::Null),
        changed("token_type", json!("mac")),
        changed("token_type", json!("N_A")),
        changed("token_type", json!("DPoP")),
    ] {
        let body = answer.clone();
        let issuer = Scripted::start(move |_, _| ok(&body)).await;
        let client = issuer.client();
        for calls in 1..3 {
            let error = client.exchange(&"anns".into(), None, "clinic", &[]).await.expect_err("refused");
            assert_eq!((error.kind(), issuer.calls()), (ErrorKind::Malformed, calls), "{answer}");
        }
    }
}
