use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use super::usage::copy_of_the_store;
use super::{Mutant, configured, outside};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "who has nothing left is served all the same",
        clause: "HB-USE-003",
        make: |sound| outside(sound, |service| service.layer(from_fn(generous))),
    },
    Mutant {
        what: "a proxy drops the headers of the limit",
        clause: "HB-USE-003",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    response.headers_mut().remove("ratelimit");
                    response
                }))
            })
        },
    },
    Mutant {
        what: "a gateway remembers who had nothing left",
        clause: "HB-USE-010",
        make: |sound| outside(sound, |service| service.layer(from_fn(remembers))),
    },
    Mutant {
        what: "who has to pay is told that he may not",
        clause: "HB-USE-011",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    if response.status() == StatusCode::PAYMENT_REQUIRED {
                        *response.status_mut() = StatusCode::FORBIDDEN;
                    }
                    response
                }))
            })
        },
    },
    Mutant {
        what: "a gateway remembers who has to pay",
        clause: "HB-USE-012",
        make: |sound| outside(sound, |service| service.layer(from_fn(remembers))),
    },
    Mutant {
        what: "what one process is told of a customer no other one sees",
        clause: "HB-USE-012",
        make: |sound| configured(sound, copy_of_the_store),
    },
    Mutant {
        what: "each process counts against a limit by itself",
        clause: "HB-USE-014",
        make: |sound| configured(sound, copy_of_the_store),
    },
];

async fn generous(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS { Response::new(Body::from("{}")) } else { response }
}

/// By credential, path and method.
static REMEMBERED: Mutex<BTreeMap<String, (StatusCode, HeaderMap, Bytes)>> = Mutex::new(BTreeMap::new());

async fn remembers(request: Request, next: Next) -> Response {
    let who = format!("{} {} {:?}", request.method(), request.uri().path(), request.headers().get(AUTHORIZATION));
    let told = |(status, headers, body): (StatusCode, HeaderMap, Bytes)| {
        let mut response = Response::new(Body::from(body));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response
    };
    if let Some(remembered) = REMEMBERED.lock().unwrap().get(&who).cloned() {
        return told(remembered);
    }
    let (head, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = (head.status, head.headers, body);
    if matches!(answer.0, StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED) {
        REMEMBERED.lock().unwrap().insert(who, answer.clone());
    }
    told(answer)
}
