//! Every credential of a run is known to the check that looks for them, whoever sent it and wherever it stands.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;

use super::super::{Conformance, check};
use super::sound;
use super::tokens::{header_of, sent};

/// Finds a credential of one kind in a request.
type Kind = fn(&Parts, &[u8]) -> Option<String>;

/// What a kind of credential is called, and the clause whose checks send it.
const KINDS: [(&str, &str, Kind); 6] = [
    ("a token of an attack", "HB-AUTH-003", |asked, _| {
        (header_of(&sent(&asked.headers))["alg"] == "HS256").then(|| last(&sent(&asked.headers)))
    }),
    ("a proof of possession", "HB-AUTH-010", |asked, _| Some(last(asked.headers.get("dpop")?.to_str().ok()?))),
    ("an opaque token", "HB-AUTH-011", |asked, _| {
        let sent = sent(&asked.headers);
        sent.strip_prefix("Bearer ").filter(|token| !token.contains('.')).map(str::to_owned)
    }),
    ("the secret part of an API key", "HB-AUTH-012", |asked, _| {
        let sent = sent(&asked.headers);
        Some(sent.strip_prefix("Bearer hb_dev_")?.rsplit('_').next()?.to_owned())
    }),
    ("a logout token", "HB-AUTH-014", |_, body| Some(last(&field(body, "logout_token")?))),
    ("a client's secret", "HB-ISS-002", |_, body| field(body, "client_secret")),
];

fn last(token: &str) -> String {
    token.rsplit('.').next().unwrap_or_default().to_owned()
}

fn field(form: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(form).find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
}

/// Says in each answer what the first long credential of this kind was that it has seen, once nobody sends it any more.
fn telling(sound: Conformance, kind: Kind) -> Conformance {
    // By all processes of the product.
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    super::outside(sound, move |service| {
        let seen = seen.clone();
        service.layer(from_fn(move |request: Request, next: Next| {
            let seen = seen.clone();
            async move {
                let (asked, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let one = kind(&asked, &body).filter(|one| one.len() > 20);
                let mut answer = next.run(Request::from_parts(asked.clone(), Body::from(body))).await;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match one {
                    Some(one) => seen.push(one),
                    // A caller who is known and sends no such thing.
                    None if asked.headers.contains_key(AUTHORIZATION) => tell(answer.headers_mut(), &seen),
                    None => {}
                }
                answer
            }
        }))
    })
}

fn tell(headers: &mut HeaderMap, seen: &[String]) {
    headers.extend(seen.last().and_then(|one| HeaderValue::from_str(one).ok()).map(|one| (http::header::ETAG, one)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_credential_that_the_suite_sends_is_found_where_it_is_seen() {
    for (what, clause, kind) in KINDS {
        let checks = check::all().filter(|check| [clause, "HB-INV-003"].contains(&check.clause));
        let report = check::run(telling(sound::product(), kind), checks).await;
        let found = report.failed().any(|outcome| outcome.clause == "HB-INV-003");
        assert!(found, "{what} is seen, and not found: {report}");
    }
}
