use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte_core::{Problem, problem};
use http::StatusCode;
use serde_json::Value;

use super::super::Conformance;
use super::super::tokens::claims_of;
use super::tamper::{answers, bodies, on};
use super::tokens::{credentials, sent, serve};
use super::{Mutant, outside};

const METADATA: &str = "/.well-known/oauth-protected-resource";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant { what: "the issuer is asked for each request", clause: "HB-AUTH-006", make: |sound| asking(sound, false) },
    Mutant { what: "keys of the start are the only ones", clause: "HB-AUTH-006", make: first_key_only },
    Mutant {
        what: "tokens by unknown keys are taken",
        clause: "HB-AUTH-006",
        make: |sound| {
            answers(sound, |asked, answer| {
                serve(answer, kid_of(&sent(&asked.headers)).is_some_and(|kid| kid.starts_with("nobody")));
            })
        },
    },
    Mutant { what: "without the issuer nobody is known", clause: "HB-AUTH-007", make: |sound| asking(sound, true) },
    Mutant { what: "what was away stays away", clause: "HB-AUTH-007", make: away_for_ever },
    Mutant {
        what: "the metadata names another issuer",
        clause: "HB-AUTH-008",
        make: |sound| {
            bodies(sound, |_, text| text.replace("\"authorization_servers\":[\"", "\"authorization_servers\":[\"x"))
        },
    },
    Mutant {
        what: "the metadata is of another resource",
        clause: "HB-AUTH-008",
        make: |sound| bodies(sound, |_, text| text.replace("\"resource\":\"http", "\"resource\":\"https")),
    },
    Mutant {
        what: "the metadata asks for credentials",
        clause: "HB-AUTH-008",
        make: |sound| on(sound, METADATA, StatusCode::OK, |answer| *answer.status_mut() = StatusCode::UNAUTHORIZED),
    },
    Mutant {
        what: "opaque tokens are not known",
        clause: "HB-AUTH-011",
        make: |sound| credentials(sound, |sent| (!sent.contains('.')).then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "opaque tokens for others are taken",
        clause: "HB-AUTH-011",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_opaque = !sent(&asked.headers).contains('.');
                serve(answer, is_opaque && answer.status() == StatusCode::UNAUTHORIZED);
            })
        },
    },
    Mutant {
        what: "while the issuer cannot be asked, opaque tokens are bad",
        clause: "HB-AUTH-011",
        make: |sound| {
            on(sound, "/", StatusCode::SERVICE_UNAVAILABLE, |answer| *answer.status_mut() = StatusCode::UNAUTHORIZED)
        },
    },
];

fn kid_of(sent: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(sent.split([' ', '.']).nth(1)?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header["kid"].as_str()?.to_owned())
}

/// Asks the issuer of each token for its keys; where it `must` answer, nobody is let in without.
fn asking(sound: Conformance, must: bool) -> Conformance {
    outside(sound, move |service| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let issuer = claims_of(&sent(request.headers()))["iss"].as_str().map(str::to_owned);
            let Some(issuer) = issuer else { return next.run(request).await };
            let answer = reqwest::get(format!("{issuer}/jwks")).await.and_then(reqwest::Response::error_for_status);
            if must && answer.is_err() {
                let context = problem::Context::of(&request);
                return Problem::unavailable(std::time::Duration::from_secs(1)).refuse(&context);
            }
            next.run(request).await
        }))
    })
}

/// Takes tokens by the first key that it sees alone.
pub(super) fn first_key_only(sound: Conformance) -> Conformance {
    outside(sound, |service| {
        let first = Arc::new(Mutex::new(None));
        service.layer(from_fn(move |request: Request, next: Next| {
            let kid = kid_of(&sent(request.headers()));
            let is_first = {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| kid.clone()).clone() == kid
            };
            let context = problem::Context::of(&request);
            async move {
                if is_first { next.run(request).await } else { Problem::invalid_token("no").refuse(&context) }
            }
        }))
    })
}

/// Is unavailable for ever to whom it was at first.
fn away_for_ever(sound: Conformance) -> Conformance {
    outside(sound, |service| {
        let was_away = Arc::new(OnceLock::new());
        service.layer(from_fn(move |request: Request, next: Next| {
            let was_away = was_away.clone();
            async move {
                if was_away.get() == Some(&true) {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                let answer: Response = next.run(request).await;
                was_away.get_or_init(|| answer.status() == StatusCode::SERVICE_UNAVAILABLE);
                answer
            }
        }))
    })
}
