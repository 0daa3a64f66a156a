use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::super::Conformance;
use super::super::tokens::claims_of;
use super::Mutant;
use super::tamper::{answers, on, requests};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "only one way to write the scheme is known",
        clause: "HB-AUTH-001",
        make: |sound| without_credentials(sound, |sent| sent.starts_with("BEARER ")),
    },
    Mutant {
        what: "the first of two headers counts",
        clause: "HB-AUTH-001",
        make: |sound| {
            requests(sound, |request| {
                let first = sent(request.headers());
                set(request, &first);
            })
        },
    },
    Mutant {
        what: "another scheme is a bad credential",
        clause: "HB-AUTH-001",
        make: |sound| credentials(sound, |sent| sent.starts_with("Basic ").then(|| "Bearer x".to_owned())),
    },
    Mutant {
        what: "what comes behind a token is not looked at",
        clause: "HB-AUTH-001",
        make: |sound| {
            credentials(sound, |sent| {
                let parts: Vec<_> = sent.split([' ', ',']).take(2).collect();
                Some(parts.join(" "))
            })
        },
    },
    Mutant {
        what: "a public route asks for credentials",
        clause: "HB-AUTH-002",
        make: |sound| {
            answers(sound, |asked, answer| {
                if asked.uri.path() == "/" && !asked.headers.contains_key(AUTHORIZATION) {
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                    *answer.body_mut() = r#"{"type":"urn:halfbyte:problem:unauthenticated"}"#.into();
                }
            })
        },
    },
    Mutant {
        what: "a public route does not look at credentials",
        clause: "HB-AUTH-002",
        make: |sound| {
            requests(sound, |request| {
                if request.uri().path() == "/" {
                    request.headers_mut().remove(AUTHORIZATION);
                }
            })
        },
    },
    Mutant {
        what: "one route takes tokens without a signature",
        clause: "HB-AUTH-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_unsigned = sent(&asked.headers).ends_with('.') && asked.uri.path() == "/extras";
                serve(answer, is_unsigned);
            })
        },
    },
    Mutant {
        what: "forgeries are told apart",
        clause: "HB-AUTH-003",
        make: |sound| {
            super::tamper::rewritten(sound, |asked, _, text| {
                let is_none = header_of(&sent(&asked.headers))["alg"] == "none";
                if is_none { text.replace("\"detail\":\"", "\"detail\":\"none is no algorithm: ") } else { text }
            })
        },
    },
    Mutant {
        what: "a public route takes tokens by another algorithm",
        clause: "HB-AUTH-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_hmac = header_of(&sent(&asked.headers))["alg"] == "HS256" && asked.uri.path() == "/";
                serve(answer, is_hmac);
            })
        },
    },
    Mutant {
        what: "Ed25519 is not known",
        clause: "HB-AUTH-003",
        make: |sound| credentials(sound, |sent| (header_of(sent)["alg"] == "EdDSA").then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "tokens do not expire",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims["exp"].as_i64().is_some_and(|exp| exp < now())),
    },
    Mutant {
        what: "tokens of later are taken",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims["nbf"].as_i64().is_some_and(|nbf| nbf > now() + 60)),
    },
    Mutant {
        what: "tokens that were issued later are taken",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims["iat"].as_i64().is_some_and(|iat| iat > now() + 60)),
    },
    Mutant {
        what: "the audience is a beginning",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims["aud"].as_str().is_some_and(|aud| aud == "sound2")),
    },
    Mutant {
        what: "a slash behind the issuer does not matter",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims["iss"].as_str().is_some_and(|iss| iss.ends_with('/'))),
    },
    Mutant {
        what: "ID tokens are taken",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims.get("nonce").is_some()),
    },
    Mutant {
        what: "logout tokens are taken",
        clause: "HB-AUTH-004",
        make: |sound| taking(sound, |claims| claims.get("events").is_some()),
    },
    Mutant {
        what: "clocks may not differ",
        clause: "HB-AUTH-004",
        make: |sound| {
            credentials(sound, |sent| {
                let is_past = claims_of(sent)["exp"].as_i64().is_some_and(|exp| exp < now());
                is_past.then(|| "Bearer a.b.c".to_owned())
            })
        },
    },
    Mutant {
        what: "a list of audiences is not read",
        clause: "HB-AUTH-004",
        make: |sound| credentials(sound, |sent| claims_of(sent)["aud"].is_array().then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "another claim is taken for the tenant",
        clause: "HB-AUTH-005",
        make: |sound| {
            answers(sound, |asked, answer| {
                let claims = claims_of(&sent(&asked.headers));
                serve(answer, claims.get("org").is_some() && claims.get("tenant").is_none());
            })
        },
    },
    Mutant {
        what: "the claim tenant is not read",
        clause: "HB-AUTH-005",
        make: |sound| {
            on(sound, "/tenants/", StatusCode::OK, |answer| {
                *answer.status_mut() = StatusCode::FORBIDDEN;
                *answer.body_mut() = r#"{"type":"urn:halfbyte:problem:forbidden"}"#.into();
            })
        },
    },
    Mutant {
        what: "scopes must stand alone",
        clause: "HB-AUTH-005",
        make: |sound| {
            answers(sound, |asked, answer| {
                let has_more =
                    claims_of(&sent(&asked.headers))["scope"].as_str().is_some_and(|it| it.ends_with(" last"));
                if has_more {
                    *answer.body_mut() = r#"{"type":"urn:halfbyte:problem:insufficient-scope"}"#.into();
                }
            })
        },
    },
];

/// The first `Authorization`.
pub(super) fn sent(headers: &HeaderMap) -> String {
    headers.get(AUTHORIZATION).map(|sent| String::from_utf8_lossy(sent.as_bytes()).into_owned()).unwrap_or_default()
}

fn set(request: &mut Request, credential: &str) {
    if let (false, Ok(value)) = (credential.is_empty(), HeaderValue::from_str(credential)) {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
}

/// The header of the token that was sent.
pub(super) fn header_of(sent: &str) -> Value {
    let header = sent.split([' ', '.']).nth(1).and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    header.and_then(|header| serde_json::from_slice(&header).ok()).unwrap_or_default()
}

fn now() -> i64 {
    halfbyte_core::Clock::system().now().as_second()
}

/// Answers as if all were well, `if_so`.
pub(super) fn serve(answer: &mut Response, if_so: bool) {
    if if_so {
        *answer = Response::new("served".into());
    }
}

/// Takes tokens whose claims are like that, whatever else is wrong with them.
pub(super) fn taking(sound: Conformance, which: fn(&Value) -> bool) -> Conformance {
    super::outside(sound, move |service| {
        service.layer(axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| async move {
            let is_one = which(&claims_of(&sent(request.headers())));
            let mut answer = next.run(request).await;
            serve(&mut answer, is_one);
            answer
        }))
    })
}

/// Changes credentials on their way in.
pub(super) fn credentials(sound: Conformance, change: fn(&str) -> Option<String>) -> Conformance {
    super::outside(sound, move |service| {
        service.layer(axum::middleware::map_request(move |mut request: Request| {
            if let Some(changed) = change(&sent(request.headers())) {
                set(&mut request, &changed);
            }
            std::future::ready(request)
        }))
    })
}

/// Takes away credentials that are like that.
fn without_credentials(sound: Conformance, which: fn(&str) -> bool) -> Conformance {
    super::outside(sound, move |service| {
        service.layer(axum::middleware::map_request(move |mut request: Request| {
            if which(&sent(request.headers())) {
                request.headers_mut().remove(AUTHORIZATION);
            }
            std::future::ready(request)
        }))
    })
}
