//! Refresh, introspection, revocation, userinfo; and what no endpoint of an issuer may do to its clients.

use std::time::Duration;

use halfbyte_core::error_chain;
use halfbyte_identity::outbound::{ClientAuthentication, Error, ErrorKind, OAuthClient, TokenHint};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::scripted::{Scripted, ok};
use crate::support::{Heard, Product};

#[tokio::test]
async fn a_refresh_hands_back_the_new_refresh_token_and_none_where_the_old_one_stays() {
    let issuer = Scripted::start(|serial, _| {
        let mut answer = json!({"access_token": "t", "token_type": "bearer", "expires_in": 60, "scope": "a b"});
        if serial == 0 {
            answer["refresh_token"] = json!("r-1");
        }
        ok(&answer)
    })
    .await;
    let tokens = issuer.client().refresh(&"r-0".into()).await.expect("refreshed");
    assert_eq!(tokens.refresh_token.as_ref().expect("rotated").expose_secret(), "r-1");
    assert_eq!((tokens.access_token.secret().expose_secret(), tokens.access_token.scope()), ("t", Some("a b")));
    assert!(!format!("{tokens:?}").contains("r-1"));
    let asked = &issuer.asked()[0];
    assert_eq!((asked.field("grant_type"), asked.field("refresh_token")), ("refresh_token", "r-0"));
    assert!(issuer.client().refresh(&"r-1".into()).await.expect("refreshed").refresh_token.is_none());
}

#[tokio::test]
async fn a_refresh_is_sent_once_as_the_second_use_of_a_refresh_token_looks_like_theft() {
    let issuer = Scripted::start(|_, _| (503, String::new())).await;
    let error = issuer.client().refresh(&"r-0".into()).await.expect_err("in trouble");
    assert_eq!((error.is_unavailable(), issuer.calls()), (true, 1));
    // In contrast to what only asks.
    issuer.client().introspect(&"t".into()).await.expect_err("in trouble");
    assert_eq!(issuer.calls(), 1 + 3);
}

#[tokio::test]
async fn introspection_tells_what_the_issuer_says() {
    let issuer = Scripted::start(|_, asked| match asked.field("token") {
        "good" => ok(&json!({"active": true, "sub": "ann", "exp": 2_000_000_000})),
        _ => ok(&json!({"active": false})),
    })
    .await;
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let client = issuer.client();
    let good = client.introspect(&"good".into()).await.expect("answered");
    assert!(good.is_active());
    assert_eq!(good.claims::<Claims>().expect("claims").sub, "ann");
    let bad = client.introspect(&"bad".into()).await.expect("answered");
    assert!(!bad.is_active());
    assert_eq!(bad.claims::<Claims>().map(drop).expect_err("no claims").kind(), ErrorKind::Malformed);
    assert!(
        issuer.asked().iter().all(|asked| asked.path == "/introspect" && asked.authorization.starts_with("Basic "))
    );
}

#[tokio::test]
async fn an_introspection_that_two_readers_could_read_differently_is_refused() {
    for body in [
        r#"{"active": false, "active": true}"#,
        r#"{"active": true, "cnf": {"jkt": "a", "jkt": "b"}}"#,
        r#"{"active": "true"}"#,
        r#"{"active": 1}"#,
        r#"{"sub": "ann"}"#,
        r#"[{"active": true}]"#,
        r#"{"active": true} {}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJhY3RpdmUiOnRydWV9.c2ln",
        "",
    ] {
        let issuer = Scripted::start(move |_, _| (200, body.to_owned())).await;
        let error = issuer.client().introspect(&"t".into()).await.expect_err(body);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
    }
}

#[tokio::test]
async fn a_revocation_names_the_token_and_its_kind() {
    let issuer = Scripted::start(|_, _| (200, String::new())).await;
    let client = issuer.client();
    client.revoke(&"t".into(), Some(TokenHint::RefreshToken)).await.expect("revoked");
    client.revoke(&"t".into(), None).await.expect("revoked");
    let asked = issuer.asked();
    assert_eq!((asked[0].path.as_str(), asked[0].field("token")), ("/revoke", "t"));
    assert_eq!((asked[0].field("token_type_hint"), asked[1].form.len()), ("refresh_token", 1));
}

#[tokio::test]
async fn a_revocation_that_was_not_made_is_an_error() {
    let issuer = Scripted::start(|_, _| (400, json!({"error": "unsupported_token_type"}).to_string())).await;
    let error = issuer.client().revoke(&"t".into(), None).await.expect_err("refused");
    assert_eq!((error.is_rejected(), error.code()), (true, Some("unsupported_token_type")));
}

#[tokio::test]
async fn userinfo_is_about_the_subject_that_was_asked_for_or_an_error() {
    let issuer = Scripted::start(|_, _| ok(&json!({"sub": "ann", "email": "ann@example.com"}))).await;
    let client = issuer.client();
    let userinfo = client.userinfo(&"t".into(), Some("ann")).await.expect("answered");
    assert_eq!(userinfo.subject(), "ann");
    assert_eq!(userinfo.claims::<Value>().expect("claims")["email"], "ann@example.com");
    assert!(!format!("{userinfo:?}").contains("example.com"));
    assert_eq!(client.userinfo(&"t".into(), Some("bob")).await.expect_err("ann").kind(), ErrorKind::WrongSubject);
    client.userinfo(&"t".into(), None).await.expect("anybody will do");
    let asked = &issuer.asked()[0];
    assert_eq!((asked.path.as_str(), asked.authorization.as_str()), ("/userinfo", "Bearer t"));
}

#[tokio::test]
async fn userinfo_about_nobody_is_malformed() {
    for body in ["{}", r#"{"sub": ""}"#, r#"{"sub": 7}"#, r#"{"sub": "ann", "sub": "bob"}"#, r#""ann""#] {
        let issuer = Scripted::start(move |_, _| (200, body.to_owned())).await;
        let error = issuer.client().userinfo(&"t".into(), Some("ann")).await.expect_err(body);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
    }
}

#[tokio::test]
async fn an_issuer_without_the_endpoint_is_a_matter_of_configuration() {
    let product = Product::embedded().await;
    let client = product.identity.client("parcel", ClientAuthentication::secret(|| Ok("s".into())));
    assert_eq!(client.userinfo(&"t".into(), None).await.expect_err("none").kind(), ErrorKind::Configuration);
    let none = Product::open(Vec::new()).await;
    let client = none.identity.client("parcel", ClientAuthentication::secret(|| Ok("s".into())));
    let error = client.revoke(&"t".into(), None).await.expect_err("no issuer");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Configuration, "no issuer is configured"));
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_unavailable_and_says_when_to_ask_again() {
    let product = Product::of(&["http://127.0.0.1:1"]).await;
    let client = product.identity.client("parcel", ClientAuthentication::secret(|| Ok("s".into())));
    let error = client.introspect(&"t".into()).await.expect_err("gone");
    assert!(error.is_unavailable() && error.retry_after() >= Some(Duration::from_secs(1)), "{error:?}");
}

/// Every call with a token of its own; none of them may come back in an error.
async fn all(client: &OAuthClient) -> Vec<Error> {
    let token = "secret-t".into();
    vec![
        client.exchange(&token, None, "clinic", &[]).await.map(drop).expect_err("refused"),
        client.refresh(&token).await.map(drop).expect_err("refused"),
        client.introspect(&token).await.map(drop).expect_err("refused"),
        client.userinfo(&token, None).await.map(drop).expect_err("refused"),
    ]
}

#[tokio::test]
async fn hostile_answers_are_errors_and_what_is_secret_is_in_none_of_them_nor_in_the_log() {
    let heard = Heard::listen();
    let granted = |more: &str| format!(r#"{{"access_token": "secret-t", "token_type": "Bearer", {more}}}"#);
    let issued = r#""issued_token_type": "urn:ietf:params:oauth:token-type:access_token""#;
    let answers: Vec<(u16, String, ErrorKind)> = vec![
        (200, format!("\"{}\"", "secret-t".repeat(1 << 18)), ErrorKind::Malformed),
        (200, "[".repeat(200_000), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "expires_in": -1"#)), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "expires_in": "60""#)), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "expires_in": 1e300"#)), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "expires_in": 0"#)), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "scope": ["a"]"#)), ErrorKind::Malformed),
        (200, granted(&format!(r#"{issued}, "access_token": "secret-t""#)), ErrorKind::Malformed),
        (
            200,
            format!(r#"{{"access_token": "secret-t\r\nx: y", "token_type": "Bearer", {issued}}}"#),
            ErrorKind::Malformed,
        ),
        (200, format!(r#"{{"access_token": "", "token_type": "Bearer", {issued}}}"#), ErrorKind::Malformed),
        (200, format!(r#"{{"access_token": "secret-t", "token_type": "mac", {issued}}}"#), ErrorKind::Malformed),
        (302, String::new(), ErrorKind::Malformed),
        (400, r#"{"error": "secret-t", "error_description": "secret-t is not good"}"#.into(), ErrorKind::Rejected),
        (401, "<html>secret-t</html>".into(), ErrorKind::Rejected),
        (400, format!(r#"{{"error": "{}"}}"#, "a".repeat(41)), ErrorKind::Rejected),
        (400, r#"{"error": ["invalid_grant"]}"#.into(), ErrorKind::Rejected),
        (500, r#"{"error": "server_error", "x": "secret-t"}"#.into(), ErrorKind::Unavailable),
    ];
    for (status, body, kind) in answers {
        let start: String = body.chars().take(120).collect();
        let issuer = Scripted::start(move |_, _| (status, body.clone())).await;
        for error in all(&issuer.client()).await {
            assert_eq!(error.kind(), kind, "{status} {start}: {error:?}");
            assert_eq!(error.code(), None, "{status} {start}");
            let shown = format!("{error:?} {}", error_chain(&error));
            assert!(!shown.contains("secret-t") && !shown.contains("the-clients-own-secret"), "{shown}");
            assert!(shown.len() < 600, "{shown}");
        }
    }
    let text = heard.text();
    assert!(text.contains("connection"), "else nothing was heard of HTTP");
    assert!(!text.contains("secret-t") && !text.contains("the-clients-own-secret"));
}

#[tokio::test]
async fn a_lifetime_beyond_all_time_ends_with_time() {
    let issuer = Scripted::start(|_, _| {
        ok(&json!({"access_token": "t", "token_type": "Bearer", "expires_in": u64::MAX,
                   "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}))
    })
    .await;
    let token = issuer.client().exchange(&"anns".into(), None, "clinic", &[]).await.expect("exchanged");
    assert_eq!(token.expires_at(), Some(jiff::Timestamp::MAX));
    issuer.client().exchange(&"anns".into(), None, "clinic", &[]).await.expect("exchanged");
}
