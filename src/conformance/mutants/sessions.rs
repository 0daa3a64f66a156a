use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::CACHE_CONTROL;

use super::super::Conformance;
use super::tamper::{on, rewritten};
use super::tokens::{sent, serve, taking};
use super::{Mutant, outside};

const LOGOUT: &str = "/oauth/backchannel-logout";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "nothing is revoked",
        clause: "HB-AUTH-013",
        make: |sound| taking(sound, |claims| claims.get("sid").is_some()),
    },
    Mutant {
        what: "what was issued long ago is not revoked",
        clause: "HB-AUTH-013",
        make: |sound| {
            taking(sound, |claims| {
                let now = halfbyte_core::Clock::system().now().as_second();
                claims["iat"].as_i64().is_some_and(|issued| issued < now - 45)
            })
        },
    },
    Mutant { what: "what was good once is good for ever", clause: "HB-AUTH-013", make: remembering },
    Mutant {
        what: "a logout token is taken and ends nothing",
        clause: "HB-AUTH-014",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    if request.uri().path() != LOGOUT {
                        return next.run(request).await;
                    }
                    (StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response()
                }))
            })
        },
    },
    Mutant {
        what: "a bad logout token is answered as a good one",
        clause: "HB-AUTH-014",
        make: |sound| on(sound, LOGOUT, StatusCode::BAD_REQUEST, |answer| serve(answer, true)),
    },
    Mutant {
        what: "a bad logout token is a bad credential",
        clause: "HB-AUTH-014",
        make: |sound| rewritten(sound, |_, _, text| text.replace("\"invalid_request\"", "\"invalid_token\"")),
    },
    Mutant {
        what: "a logout may be stored",
        clause: "HB-AUTH-014",
        make: |sound| on(sound, LOGOUT, StatusCode::OK, |answer| drop(answer.headers_mut().remove(CACHE_CONTROL))),
    },
    Mutant {
        what: "without the keys a logout token is a bad one",
        clause: "HB-AUTH-014",
        make: |sound| {
            on(sound, LOGOUT, StatusCode::SERVICE_UNAVAILABLE, |answer| *answer.status_mut() = StatusCode::BAD_REQUEST)
        },
    },
    Mutant {
        what: "a stream that breaks off ends as if it were whole",
        clause: "HB-AUTH-016",
        make: |sound| {
            outside(sound, |service| {
                service.layer(axum::middleware::map_response(async |answer: Response| {
                    let whole = |body: Body| {
                        Body::from_stream(body.into_data_stream().take_while(|part| std::future::ready(part.is_ok())))
                    };
                    answer.map(whole)
                }))
            })
        },
    },
];

/// Serves for ever whom it served once.
fn remembering(sound: Conformance) -> Conformance {
    outside(sound, |service| {
        let served = Arc::new(Mutex::new(HashSet::new()));
        service.layer(from_fn(move |request: Request, next: Next| {
            let served = served.clone();
            async move {
                let token = sent(request.headers());
                let mut answer = next.run(request).await;
                let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
                if answer.status() == StatusCode::UNAUTHORIZED {
                    serve(&mut answer, served.contains(&token));
                } else {
                    served.insert(token);
                }
                answer
            }
        }))
    })
}
