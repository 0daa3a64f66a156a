//! Services that accept or refuse in a wrong way altogether: the attacks must find it, and say what it is.

use std::convert::Infallible;
use std::sync::Mutex;

use halfbyte_core::body::Refusable;
use halfbyte_identity::testing::Outage;
use halfbyte_identity::testing::attack::{self, Fault, Report};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::json;
use tower::{ServiceExt as _, service_fn};

use super::broken::{answer, claims_of, header_of, let_through};
use super::{ann, issuer, request, with_product};
use crate::support::{AUDIENCE, Product};

#[tokio::test]
async fn a_service_that_accepts_everything_is_caught_by_every_attack() {
    let issuer = issuer().await;
    let open = service_fn(async |_: Request<String>| Ok::<_, Infallible>(answer(200, "welcome")));
    let report = attack::run(open, request, &issuer, AUDIENCE, &ann()).await;
    assert_eq!(let_through(&report).len(), report.attacks());
    assert!(!report.is_clean());
    let shown = report.to_string();
    assert!(shown.contains("\n- an unsigned token that says alg none: LET THROUGH with 200 OK\n"), "{shown}");
}

#[tokio::test]
#[should_panic(expected = "- a token that expired a minute ago: LET THROUGH with 200 OK")]
async fn the_assertion_panics_with_the_names_of_what_got_through() {
    let issuer = issuer().await;
    let open = service_fn(async |_: Request<String>| Ok::<_, Infallible>(answer(200, "welcome")));
    attack::assert_all_refused(open, request, &issuer, AUDIENCE, &ann()).await;
}

#[tokio::test]
async fn a_service_that_refuses_everything_does_not_pass() {
    let issuer = issuer().await;
    let product = Product::embedded().await;
    let report = attack::run(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
    let first = &report.findings()[0];
    assert_eq!((first.attack, &first.fault), ("the good token", &Fault::RefusedGoodToken(StatusCode::UNAUTHORIZED)));
}

#[tokio::test]
async fn a_service_that_has_no_keys_does_not_pass() {
    let issuer = issuer().await;
    issuer.outage(Outage::Error(StatusCode::BAD_GATEWAY));
    let product = Product::of(&[issuer.id()]).await;
    let report = attack::run(product.greeter(), request, &issuer, AUDIENCE, &ann()).await;
    let first = &report.findings()[0];
    let fault = Fault::RefusedGoodToken(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((first.attack, &first.fault), ("the good token", &fault));
}

#[tokio::test]
async fn a_service_that_does_not_ask_for_credentials_lets_those_through_that_count_for_none() {
    let (issuer, product) = with_product().await;
    let unguarded = tower::ServiceBuilder::new()
        .layer(product.identity.authenticate())
        .service(service_fn(async |_: Request<String>| Ok::<_, Infallible>(answer(200, "welcome"))));
    let report = attack::run(unguarded, request, &issuer, AUDIENCE, &ann()).await;
    let through = let_through(&report);
    assert!(through.contains(&"a good token in the address") && through.contains(&"a good token without a scheme"));
    assert!(!through.contains(&"an unsigned token that says alg none"));
}

/// A product whose refusals go through `change`.
async fn answering(change: impl Fn(&mut HeaderMap, &mut StatusCode) + Clone) -> Report {
    let (issuer, product) = with_product().await;
    let greeter = product.greeter().map_response(move |mut response| {
        let (mut headers, mut status) = (std::mem::take(response.headers_mut()), response.status());
        if status == StatusCode::UNAUTHORIZED {
            change(&mut headers, &mut status);
        }
        (*response.headers_mut(), *response.status_mut()) = (headers, status);
        response
    });
    attack::run(greeter, request, &issuer, AUDIENCE, &ann()).await
}

fn all_are(report: &Report, fault: &Fault) -> bool {
    report.findings().len() == report.attacks() && report.findings().iter().all(|finding| finding.fault == *fault)
}

#[tokio::test]
async fn a_service_that_refuses_in_another_way_than_the_table_is_caught_by_every_attack() {
    let silent = answering(|headers, _| drop(headers.remove(WWW_AUTHENTICATE))).await;
    assert!(all_are(&silent, &Fault::WrongChallenge(String::new())), "{silent}");
    let basic = answering(|headers, _| {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
    });
    assert!(all_are(&basic.await, &Fault::WrongChallenge("Basic realm=\"x\"".into())));
    let forbidden = answering(|_, status| *status = StatusCode::FORBIDDEN).await;
    assert!(all_are(&forbidden, &Fault::WrongStatus(StatusCode::FORBIDDEN)), "{forbidden}");
    let plain =
        answering(|headers, _| drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain")))).await;
    assert!(all_are(&plain, &Fault::WrongProblem(String::new())), "{plain}");
}

/// A product that refuses by itself, in these words, where there are some.
async fn of_few_words(words: impl AsyncFn(&str) -> Option<String>) -> Report {
    let (issuer, product) = with_product().await;
    let greeter = product.greeter();
    let service = service_fn(async |request: Request<String>| {
        let sent =
            request.headers().get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let Some(detail) = words(&sent.unwrap_or_default()).await {
            let body = json!({"type": "urn:halfbyte:problem:invalid-token", "status": 401, "detail": detail});
            let mut refused = answer(401, &body.to_string());
            refused.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return Ok(refused.map(Refusable::inner).map(Refusable::inner));
        }
        greeter.clone().oneshot(request).await
    });
    attack::run(service, request, &issuer, AUDIENCE, &ann()).await
}

fn is_unsigned(authorization: &str) -> bool {
    authorization.strip_prefix("Bearer ").and_then(header_of).is_some_and(|header| header["alg"] == "none")
}

#[tokio::test]
async fn a_service_that_tells_forgeries_apart_is_caught() {
    let report = of_few_words(async |sent| is_unsigned(sent).then(|| "the token is not signed".into())).await;
    assert_eq!(report.findings().len(), 5, "{report}");
    let apart = Fault::ToldApart("the token is not signed".into());
    assert!(report.findings().iter().all(|finding| finding.fault == apart), "{report}");
}

#[tokio::test]
async fn a_service_that_repeats_the_token_is_caught() {
    let report = of_few_words(async |sent| {
        let expired = sent.strip_prefix("Bearer ").and_then(claims_of).is_some_and(|claims| claims["exp"] == 0);
        expired.then(|| format!("the token {sent} has expired"))
    })
    .await;
    let findings: Vec<_> = report.findings().iter().map(|finding| (finding.attack, &finding.fault)).collect();
    assert_eq!(findings, [("a token that expired in 1970", &Fault::RepeatedCredentials)]);
}

#[tokio::test]
async fn a_service_that_panics_is_caught_and_the_attacks_go_on() {
    let report = of_few_words(async |sent| {
        assert!(sent != "Bearer x", "out of range");
        None
    })
    .await;
    let findings: Vec<_> = report.findings().iter().map(|finding| (finding.attack, &finding.fault)).collect();
    assert_eq!(findings, [("a single letter as token", &Fault::Panicked)]);
}

#[tokio::test]
async fn a_service_that_accepts_nothing_any_more_after_the_attacks_is_caught() {
    let seen = Mutex::new(0);
    let report = of_few_words(async |sent| {
        let mut seen = seen.lock().expect("not poisoned");
        *seen += usize::from(sent == "Bearer x");
        // Locked out after the attack that was tried long before the last.
        (*seen > 0).then(|| "the access token is not valid".into())
    })
    .await;
    let last = report.findings().last().expect("findings");
    assert_eq!((last.attack, &last.fault), ("the good token", &Fault::RefusedGoodToken(StatusCode::UNAUTHORIZED)));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_or_fails_is_caught() {
    let issuer = issuer().await;
    let service = service_fn(async |request: Request<String>| {
        match request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes) {
            Some(b"Bearer x") => std::future::pending().await,
            Some(b"Bearer null") => Err("out of order"),
            _ => Ok(answer(200, "welcome")),
        }
    });
    let report = attack::run(service, request, &issuer, AUDIENCE, &ann()).await;
    let fault_of = |name| &report.findings().iter().find(|finding| finding.attack == name).expect("found").fault;
    assert_eq!(fault_of("a single letter as token"), &Fault::NoAnswer);
    assert_eq!(fault_of("a word that is no token"), &Fault::Failed("out of order".into()));
}
