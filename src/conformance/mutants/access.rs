use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use http::{Method, StatusCode};

use super::super::Conformance;
use super::tamper::{answers, bodies, rewritten};
use super::tokens::{sent, serve};
use super::{Mutant, outside};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "the sign-in is asked for before scopes",
        clause: "HB-AUTH-015",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                let is_there = asked.uri.path() == "/strong";
                if is_there { text.replace("insufficient-scope", "step-up-required") } else { text }
            })
        },
    },
    Mutant {
        what: "the sign-in is asked for before roles",
        clause: "HB-AUTH-015",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                if asked.uri.path() == "/strong" { text.replace("forbidden", "step-up-required") } else { text }
            })
        },
    },
    Mutant {
        what: "scopes are not asked for where the role is missing",
        clause: "HB-AUTH-015",
        make: |sound| bodies(sound, |_, text| text.replace("insufficient-scope", "forbidden")),
    },
    Mutant {
        what: "the plan is asked before the policies",
        clause: "HB-ACC-001",
        make: |sound| bodies(sound, |_, text| text.replace("problem:forbidden", "problem:not-entitled")),
    },
    Mutant {
        what: "the policies are asked before scopes",
        clause: "HB-ACC-001",
        make: |sound| bodies(sound, |_, text| text.replace("problem:insufficient-scope", "problem:forbidden")),
    },
    Mutant {
        what: "a denial names the policy",
        clause: "HB-ACC-001",
        make: |sound| bodies(sound, |_, text| text.replace("do not permit it", "do not permit it: tenant-isolation")),
    },
    Mutant {
        what: "what is of another tenant is not found",
        clause: "HB-ACC-002",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_there = asked.uri.path().starts_with("/things/") && !asked.uri.path().contains("00000000");
                if is_there && answer.status() == StatusCode::FORBIDDEN {
                    *answer.status_mut() = StatusCode::NOT_FOUND;
                }
            })
        },
    },
    Mutant {
        what: "a header is there where something is",
        clause: "HB-ACC-002",
        make: |sound| {
            answers(sound, |asked, answer| {
                if !asked.uri.path().contains("00000000") {
                    answer.headers_mut().insert("x-cache", http::HeaderValue::from_static("hit"));
                }
            })
        },
    },
    Mutant {
        what: "a denial names what was asked for",
        clause: "HB-ACC-002",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                text.replace("do not permit it", &format!("do not permit {}", asked.uri.path()))
            })
        },
    },
    Mutant {
        what: "who knows what a thing is called may have it",
        clause: "HB-ACC-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_read = asked.method == Method::GET && asked.uri.path().starts_with("/things/");
                serve(answer, is_read && answer.status() == StatusCode::FORBIDDEN);
            })
        },
    },
    Mutant {
        what: "a suspended tenant may do what it did before",
        clause: "HB-ACC-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_made = asked.method == Method::POST && asked.uri.path() == "/things";
                serve(answer, is_made && answer.status() == StatusCode::FORBIDDEN);
            })
        },
    },
    Mutant { what: "who was suspended stays so", clause: "HB-ACC-003", make: resentful },
    Mutant {
        what: "who is past due is suspended",
        clause: "HB-ACC-003",
        make: |sound| bodies(sound, |_, text| text.replace("problem:payment-required", "problem:forbidden")),
    },
];

/// Refuses for ever whom it refused once.
fn resentful(sound: Conformance) -> Conformance {
    outside(sound, |service| {
        let refused = Arc::new(Mutex::new(HashSet::new()));
        service.layer(from_fn(move |request: Request, next: Next| {
            let refused = refused.clone();
            async move {
                let token = sent(request.headers());
                let answer = next.run(request).await;
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                if answer.status() == StatusCode::FORBIDDEN {
                    refused.insert(token);
                } else if refused.contains(&token) {
                    let row = r#"{"type":"urn:halfbyte:problem:forbidden"}"#;
                    return (StatusCode::FORBIDDEN, row).into_response();
                }
                answer
            }
        }))
    })
}
