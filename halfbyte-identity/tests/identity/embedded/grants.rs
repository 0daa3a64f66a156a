use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte_identity::embedded::ClientSpec;
use http::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::assert_refused;
use crate::support::{NOW, Product, send, unb64};

const GRANT: &str = "grant_type=client_credentials";

fn request(authorizations: &[&str], form: &str) -> Request<String> {
    let mut request = Request::post("/oauth/token").body(form.to_owned()).expect("a request");
    for value in authorizations {
        request.headers_mut().append("authorization", value.parse().expect("a value"));
    }
    request
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn product_and_secret() -> (Product, SecretString) {
    let product = Product::embedded().await;
    let secret = product.register("acme-app").await;
    (product, secret)
}

#[tokio::test]
async fn a_client_has_its_token_with_its_secret_in_the_header_or_in_the_form() {
    let (product, secret) = product_and_secret().await;
    let secret = secret.expose_secret();
    let service = product.endpoints();
    for request in [
        request(&[&basic("acme-app", secret)], GRANT),
        request(&[&basic("acme%2Dapp", secret).replacen("Basic", "bAsIc", 1)], GRANT),
        request(&[&basic("acme-app", secret)], &format!("{GRANT}&client_id=acme-app")),
        request(&[], &format!("{GRANT}&client_id=acme-app&client_secret={secret}")),
        request(
            &[],
            &format!("{GRANT}&client_id=acme-app&client_secret={secret}&scope=&audience=&unknown=1&unknown=2"),
        ),
    ] {
        let seen = send(&service, request).await;
        assert_eq!((seen.status.as_u16(), seen.header("cache-control")), (200, "no-store"), "{}", seen.body);
        let answer = seen.json();
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(900)));
        assert_eq!(answer["scope"], "labels:read labels:write");
        let token = answer["access_token"].as_str().expect("a token");
        assert!(product.identity.authenticator().authenticate(token).await.is_ok());
    }
}

#[tokio::test]
async fn the_token_has_the_claims_of_rfc_9068() {
    let (product, _) = product_and_secret().await;
    let token = product.token(&[("scope", "labels:read")]).await;
    let parts: Vec<Value> =
        token.split('.').take(2).map(|part| serde_json::from_slice(&unb64(part)).expect("JSON")).collect();
    assert_eq!((&parts[0]["typ"], &parts[0]["alg"]), (&json!("at+jwt"), &json!("ES256")));
    let claims = &parts[1];
    let issued = claims["iat"].as_i64().expect("a number");
    assert!((NOW..NOW + 60).contains(&issued));
    assert_eq!(claims["exp"], issued + 900);
    assert_eq!(claims["jti"].as_str().map(str::len), Some(22));
    for (claim, value) in
        [("iss", "http://127.0.0.1:8080"), ("aud", "parcel"), ("sub", "acme-app"), ("client_id", "acme-app")]
    {
        assert_eq!(claims[claim], value);
    }
    assert_eq!((&claims["scope"], &claims["tenant"]), (&json!("labels:read"), &json!("acme")));
    let other = product.token(&[("scope", "labels:read")]).await;
    assert_ne!(token, other, "each has an id of its own");
}

#[tokio::test]
async fn a_client_that_is_not_who_it_says_is_refused_with_401() {
    let (product, secret) = product_and_secret().await;
    let secret = secret.expose_secret();
    let service = product.endpoints();
    for request in [
        request(&[], GRANT),
        request(&[], ""),
        request(&[], &format!("{GRANT}&client_id=acme-app")),
        request(&[], &format!("{GRANT}&client_secret={secret}")),
        request(&[], &format!("{GRANT}&client_id=acme-app&client_secret=wrong")),
        request(&[], &format!("{GRANT}&client_id=acme-app&client_secret=")),
        request(&[], &format!("{GRANT}&client_id=nobody&client_secret={secret}")),
        request(&[&basic("acme-app", "wrong")], GRANT),
        request(&[&basic("acme-app", "")], GRANT),
        request(&[&basic("", secret)], GRANT),
        request(&[&basic("acme-app", &format!("{secret}&x"))], GRANT),
        request(&[&basic("acme-app=x", secret)], GRANT),
        request(&[&basic("acme-app", &secret[1..])], GRANT),
        request(&["Basic"], GRANT),
        request(&["Basic "], GRANT),
        request(&["Basic !!!"], GRANT),
        request(&["Basic YWNtZS1hcHA="], GRANT),
        request(&["Bearer x"], &format!("{GRANT}&client_id=acme-app&client_secret={secret}")),
    ] {
        assert_refused(&send(&service, request).await, 401, "invalid_client");
    }
}

#[tokio::test]
async fn each_fault_of_a_request_has_its_own_error() {
    let (product, secret) = product_and_secret().await;
    for (fields, error) in [
        (&[("scope", "labels:delete")][..], "invalid_scope"),
        (&[("scope", "labels:read labels:delete")], "invalid_scope"),
        (&[("scope", "labels:read  labels:write")], "invalid_scope"),
        (&[("scope", "labels")], "invalid_scope"),
        (&[("audience", "bank")], "invalid_target"),
        (&[("resource", "https://bank.example")], "invalid_target"),
        (&[("resource", "parcel"), ("resource", "clinic")], "invalid_request"),
        (&[("audience", "parcel"), ("resource", "clinic")], "invalid_request"),
        (&[("grant_type", "client_credentials")], "invalid_request"),
        (&[("client_id", "acme-app")], "invalid_request"),
        (&[("client_secret", "x")], "invalid_request"),
        (&[("scope", "labels:read"), ("scope", "labels:read")], "invalid_request"),
    ] {
        assert_refused(&product.ask_token("acme-app", &secret, fields).await, 400, error);
    }
    let credentials = format!("client_id=acme-app&client_secret={}", secret.expose_secret());
    assert_refused(&product.post_token(&credentials).await, 400, "invalid_request");
    for grant in ["password", "authorization_code", "CLIENT_CREDENTIALS"] {
        let form = format!("{credentials}&grant_type={grant}");
        assert_refused(&product.post_token(&form).await, 400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn a_client_that_authenticates_in_two_ways_is_refused() {
    let (product, secret) = product_and_secret().await;
    let secret = secret.expose_secret();
    let header = basic("acme-app", secret);
    for request in [
        request(&[&header], &format!("{GRANT}&client_secret={secret}")),
        request(&[&header], &format!("{GRANT}&client_id=acme-app&client_secret={secret}")),
        request(&[&header], &format!("{GRANT}&client_id=other")),
        request(&[&header, &header], GRANT),
        request(&[&header, "Bearer x"], GRANT),
    ] {
        assert_refused(&send(&product.endpoints(), request).await, 400, "invalid_request");
    }
}

#[tokio::test]
async fn the_token_endpoint_reads_a_form_of_bounded_size_that_is_posted() {
    let (product, secret) = product_and_secret().await;
    let good = format!("{GRANT}&client_id=acme-app&client_secret={}", secret.expose_secret());
    let padded = |size: usize| format!("{good}&x={}", "x".repeat(size - good.len() - 3));
    assert_eq!(product.post_token(&padded(16 * 1024)).await.status, 200);
    assert_refused(&product.post_token(&padded(16 * 1024 + 1)).await, 400, "invalid_request");

    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = Request::builder().method(method).uri("/oauth/token").body(good.clone()).expect("a request");
        let seen = send(&product.endpoints(), request).await;
        assert_eq!((seen.status.as_u16(), seen.header("allow"), seen.body.as_str()), (405, "POST", ""));
    }
    for (content_type, status) in [
        ("application/x-www-form-urlencoded; charset=utf-8", 200),
        ("Application/X-WWW-Form-Urlencoded", 200),
        ("application/json", 400),
        ("multipart/form-data; boundary=x", 400),
        ("text/plain", 400),
    ] {
        let mut request = request(&[], &good);
        request.headers_mut().insert("content-type", content_type.parse().expect("a value"));
        assert_eq!(send(&product.endpoints(), request).await.status, status, "{content_type}");
    }
}

#[tokio::test]
async fn a_client_is_registered_only_under_names_that_can_be_told_apart() {
    let product = Product::embedded().await;
    let spec = |id: &str| ClientSpec::new(id, "acme".parse().expect("a tenant"));
    for bad in [
        spec(""),
        spec("a:b"),
        spec("a b"),
        spec("\u{e9}"),
        spec(&"x".repeat(129)),
        spec("a").scopes(["labels read"]),
        spec("a").scopes([""]),
        spec("a").audiences(["a\nb"]),
    ] {
        let error = product.issuer().register(bad.clone()).await.expect_err("refused");
        assert_eq!(error.kind(), halfbyte_identity::ErrorKind::Client, "{bad:?}");
    }
    assert!(product.issuer().rotate_client_secret("nobody").await.is_err());
}

#[tokio::test]
async fn a_client_that_is_registered_again_keeps_its_secret_and_has_its_new_rights_at_once() {
    let (product, secret) = product_and_secret().await;
    let narrowed = ClientSpec::new("acme-app", "acme".parse().expect("a tenant")).audiences(["parcel"]);
    let again = product.issuer().register(narrowed).await.expect("registered");
    assert_eq!(secret.expose_secret(), again.expose_secret());
    assert_refused(&product.ask_token("acme-app", &secret, &[("scope", "labels:read")]).await, 400, "invalid_scope");
    assert_refused(&product.ask_token("acme-app", &secret, &[("audience", "clinic")]).await, 400, "invalid_target");
}

#[tokio::test]
async fn many_clients_registered_in_a_row_can_all_have_tokens_at_once() {
    let product = Product::embedded().await;
    for serial in 0..20 {
        let id = format!("app-{serial}");
        let secret = product.register(&id).await;
        assert_eq!(product.ask_token(&id, &secret, &[]).await.status, 200, "{id}");
    }
}
