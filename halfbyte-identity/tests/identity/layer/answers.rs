use halfbyte_core::problem::Kind;
use halfbyte_core::{PrincipalKind, RequestId};
use http::{HeaderValue, Request};
use serde_json::json;
use tower::{ServiceBuilder, service_fn};

use super::heard;
use crate::support::{Product, Seen, get, send, with_token};

const METADATA: &str = r#"resource_metadata="http://127.0.0.1:8080/.well-known/oauth-protected-resource""#;

fn with_header(value: &str) -> Request<String> {
    let mut request = get("/labels");
    request.headers_mut().insert("authorization", HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    request
}

fn assert_problem(seen: &Seen, status: u16, slug: &str, title: &str, detail: &str) {
    assert_eq!(seen.status, status, "{seen:?}");
    assert_eq!(seen.header("content-type"), "application/problem+json");
    assert_eq!(seen.header("cache-control"), "no-store");
    assert_eq!(seen.header("content-length"), seen.body.len().to_string());
    let body =
        json!({"type": format!("urn:halfbyte:problem:{slug}"), "title": title, "status": status, "detail": detail});
    assert_eq!(seen.json(), body);
}

/// A 401 for a credential that is there and no good.
fn assert_bad_token(seen: &Seen, detail: &str) {
    assert_problem(seen, 401, "invalid-token", "Credentials not accepted", detail);
    let shown: String = detail.chars().filter(|c| *c != '"').collect();
    let challenge = format!(r#"Bearer error="invalid_token",error_description="{shown}",{METADATA}"#);
    assert_eq!(seen.header("www-authenticate"), challenge);
    assert_eq!(seen.extensions.get(), Some(&Kind::InvalidToken));
}

fn assert_unauthenticated(seen: &Seen) {
    let detail = r#"this needs an access token: send it as "Authorization: Bearer TOKEN""#;
    assert_problem(seen, 401, "unauthenticated", "Credentials needed", detail);
    assert_eq!(seen.header("www-authenticate"), format!("Bearer {METADATA}"));
}

#[tokio::test]
async fn a_request_without_credentials_or_with_those_of_another_scheme_is_told_what_is_needed() {
    let product = Product::embedded().await;
    for request in
        [get("/labels"), with_header("Basic YTpi"), with_header("Digest x"), with_header(""), with_header("Bearerx y")]
    {
        assert_unauthenticated(&send(&product.greeter(), request).await);
    }
    let required = ServiceBuilder::new().layer(product.identity.authenticate().required()).service(service_fn(
        async |_: Request<String>| -> Result<http::Response<String>, std::convert::Infallible> {
            panic!("not reached")
        },
    ));
    assert_unauthenticated(&send(&required, get("/labels")).await);
    assert_unauthenticated(&send(&required, with_header("Basic YTpi")).await);
}

#[tokio::test]
async fn a_token_in_the_address_or_the_body_is_not_a_credential() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    let request = Request::post(format!("/labels?access_token={token}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("access_token={token}"))
        .expect("a request");
    assert_unauthenticated(&send(&product.greeter(), request).await);
}

#[tokio::test]
async fn a_header_that_is_not_one_bearer_token_is_refused() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    let mut two = with_token(&token);
    two.headers_mut().append("authorization", format!("Bearer {token}").parse().expect("a value"));
    let mut other_first = with_header("Basic YTpi");
    other_first.headers_mut().append("authorization", format!("Bearer {token}").parse().expect("a value"));
    let requests = [
        two,
        other_first,
        with_header("Bearer"),
        with_header("Bearer "),
        with_header("Bearer  "),
        with_header("Bearer \u{e9}"),
        with_header(&format!("Bearer {token},{token}")),
        with_header(&format!("Bearer {token} {token}")),
        with_header(&format!("Bearer \"{token}\"")),
    ];
    for request in requests {
        let shown = format!("{:?}", request.headers());
        let seen = send(&product.greeter(), request).await;
        assert_eq!(seen.status, 401, "{shown}");
        assert_bad_token(&seen, r#"the Authorization header is not "Bearer TOKEN""#);
    }
}

#[tokio::test]
async fn the_scheme_is_read_without_case_and_more_than_one_space_may_follow() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    for value in [format!("bearer {token}"), format!("BEARER {token}"), format!("Bearer   {token}")] {
        assert_eq!(send(&product.greeter(), with_header(&value)).await.body, "hello, acme-app", "{value}");
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_in_the_same_words_whatever_is_bad_about_its_signature() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    let (signed, signature) = token.rsplit_once('.').expect("parts");
    let (header, payload) = signed.split_once('.').expect("parts");
    let none = crate::support::b64(r#"{"alg":"none"}"#);
    let long = "x".repeat(17 * 1024);
    for bad in [
        "x",
        "a.b.c",
        signed,
        &long,
        &format!("{signed}.{}", "A".repeat(signature.len())),
        &format!("{none}.{payload}."),
        &format!("{none}.{payload}.{signature}"),
        &format!("{header}.{}.{signature}", crate::support::b64("{}")),
        &token[..token.len() - 1],
        &format!("{token}A"),
    ] {
        assert_bad_token(&send(&product.greeter(), with_token(bad)).await, "the access token is not valid");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_also_when_it_was_accepted_before() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    assert_eq!(send(&product.greeter(), with_token(&token)).await.status, 200);
    product.jump(900);
    assert_eq!(send(&product.greeter(), with_token(&token)).await.status, 200, "clocks may be 30 seconds apart");
    product.jump(30);
    assert_bad_token(&send(&product.greeter(), with_token(&token)).await, "the access token has expired");
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let product = Product::embedded().await;
    let token = product.token(&[("audience", "clinic")]).await;
    assert_bad_token(
        &send(&product.greeter(), with_token(&token)).await,
        "the access token is meant for another service",
    );
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused_with_the_scope_that_is_needed() {
    let product = Product::embedded().await;
    let token = product.token(&[("scope", "labels:write")]).await;
    let (seen, caller) = heard(send(&product.greeter(), with_token(&token))).await;
    let detail = "this needs a token with the scope: labels:read";
    assert_problem(&seen, 403, "insufficient-scope", "Scope missing", detail);
    let challenge =
        format!(r#"Bearer error="insufficient_scope",error_description="{detail}",scope="labels:read",{METADATA}"#);
    assert_eq!(seen.header("www-authenticate"), challenge);
    let principal = caller.expect("known to the layers outside, for their records");
    assert_eq!(principal.subject(), "acme-app");
}

#[tokio::test]
async fn the_handler_and_the_layers_outside_see_who_called() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    let (seen, caller) = heard(send(&product.greeter(), with_token(&token))).await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, "hello, acme-app"));
    let principal = caller.expect("told");
    assert_eq!((principal.subject(), principal.tenant().as_str()), ("acme-app", "acme"));
    assert_eq!(principal.kind(), PrincipalKind::Service);
    assert_eq!(principal.issuer(), "http://127.0.0.1:8080");
    assert_eq!(principal.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
}

#[tokio::test]
async fn where_credentials_are_optional_nobody_is_let_through_and_a_bad_token_is_not() {
    let product = Product::embedded().await;
    let service =
        ServiceBuilder::new().layer(product.identity.authenticate()).service(service_fn(crate::support::greet));
    assert_eq!(send(&service, get("/")).await.body, "hello, nobody");
    assert_eq!(send(&service, with_header("Basic YTpi")).await.body, "hello, nobody");
    assert_bad_token(&send(&service, with_token("a.b.c")).await, "the access token is not valid");
    assert_eq!(send(&service, with_token(&product.token(&[]).await)).await.body, "hello, acme-app");
}

#[tokio::test]
async fn a_grpc_caller_is_answered_with_a_grpc_status() {
    let product = Product::embedded().await;
    let token = product.token(&[("scope", "labels:write")]).await;
    for (request, status, urn) in [
        (get("/labels"), "16", "unauthenticated"),
        (with_token("a.b.c"), "16", "invalid-token"),
        (with_token(&token), "7", "insufficient-scope"),
    ] {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("content-type", HeaderValue::from_static("application/grpc+proto"));
        let seen = send(&product.greeter(), Request::from_parts(parts, body)).await;
        assert_eq!((seen.status.as_u16(), seen.header("grpc-status")), (200, status));
        assert_eq!(seen.header("content-type"), "application/grpc");
        assert_eq!(seen.header("problem-type"), format!("urn:halfbyte:problem:{urn}"));
        assert!(seen.body.is_empty() && !seen.header("grpc-message").is_empty());
    }
}

#[tokio::test]
async fn a_refusal_names_the_request_that_it_refuses() {
    let product = Product::embedded().await;
    let id = RequestId::random();
    for mut request in [get("/labels"), with_token("a.b.c")] {
        request.extensions_mut().insert(id);
        assert_eq!(send(&product.greeter(), request).await.json()["request_id"], id.as_str());
    }
}
