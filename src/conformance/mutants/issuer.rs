use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use axum::Json;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use halfbyte_core::config::Config;
use http::StatusCode;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http_body::Body as _;
use serde_json::json;

use super::tamper::{all, bodies, on, requests};
use super::tokens::{credentials, taking};
use super::{Mutant, configured, outside};

/// What is said of one more than may act.
const TOO_MANY: &str =
    r#"{"error":"invalid_request","error_description":"too many act for the subject already, one for the other"}"#;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "the documents lead to another product",
        clause: "HB-ISS-001",
        make: |sound| bodies(sound, |_, text| text.replace("/oauth/introspect\"", "/introspect\"")),
    },
    Mutant {
        what: "private keys are published",
        clause: "HB-ISS-001",
        make: |sound| bodies(sound, |_, text| text.replace("\"kty\":\"EC\"", "\"kty\":\"EC\",\"d\":\"AAAA\"")),
    },
    Mutant {
        what: "its endpoints ask for an access token",
        clause: "HB-ISS-001",
        make: |sound| {
            on(sound, "/oauth/", StatusCode::METHOD_NOT_ALLOWED, |answer| {
                *answer.status_mut() = StatusCode::UNAUTHORIZED
            })
        },
    },
    Mutant {
        what: "a client cannot say who it is in the header",
        clause: "HB-ISS-002",
        make: |sound| requests(sound, |request| drop(request.headers_mut().remove(AUTHORIZATION))),
    },
    Mutant {
        what: "who is nobody is not told how to say who he is",
        clause: "HB-ISS-002",
        make: |sound| {
            on(sound, "/oauth/", StatusCode::UNAUTHORIZED, |answer| drop(answer.headers_mut().remove(WWW_AUTHENTICATE)))
        },
    },
    Mutant {
        what: "a refusal of the token endpoint may be stored",
        clause: "HB-ISS-002",
        make: |sound| {
            on(sound, "/oauth/", StatusCode::BAD_REQUEST, |answer| drop(answer.headers_mut().remove(CACHE_CONTROL)))
        },
    },
    Mutant {
        what: "who is nobody is in the wrong",
        clause: "HB-ISS-002",
        make: |sound| {
            on(sound, "/oauth/introspect", StatusCode::UNAUTHORIZED, |answer| {
                *answer.status_mut() = StatusCode::BAD_REQUEST
            })
        },
    },
    Mutant {
        what: "tokens are said to be good for an hour",
        clause: "HB-ISS-003",
        make: |sound| bodies(sound, |_, text| text.replace("\"expires_in\":900", "\"expires_in\":3600")),
    },
    Mutant {
        what: "the product does not take its own tokens",
        clause: "HB-ISS-003",
        make: |sound| credentials(sound, |sent| sent.starts_with("Bearer ").then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "a secret of long ago is good",
        clause: "HB-ISS-004",
        make: |sound| {
            on(sound, "/oauth/token", StatusCode::UNAUTHORIZED, |answer| *answer.status_mut() = StatusCode::OK)
        },
    },
    Mutant {
        what: "what a client may not have is granted",
        clause: "HB-ISS-005",
        make: |sound| {
            on(sound, "/oauth/token", StatusCode::BAD_REQUEST, |answer| *answer.status_mut() = StatusCode::OK)
        },
    },
    Mutant {
        what: "what is wrong is told in other words",
        clause: "HB-ISS-005",
        make: |sound| bodies(sound, |_, text| text.replace("invalid_target", "invalid_request")),
    },
    Mutant {
        what: "nothing is revoked",
        clause: "HB-ISS-006",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    if request.uri().path() != "/oauth/revoke" {
                        return next.run(request).await;
                    }
                    ([(CACHE_CONTROL, "no-store")], Json(json!({}))).into_response()
                }))
            })
        },
    },
    Mutant {
        what: "what another client revokes is said to be revoked",
        clause: "HB-ISS-006",
        make: |sound| {
            on(sound, "/oauth/revoke", StatusCode::BAD_REQUEST, |answer| *answer.status_mut() = StatusCode::OK)
        },
    },
    Mutant {
        what: "a revoked token is taken",
        clause: "HB-ISS-006",
        make: |sound| taking(sound, |claims| claims["aud"] == "sound" && claims.get("scope").is_some()),
    },
    Mutant {
        what: "a process hears of no revocation of another one",
        clause: "HB-ISS-006",
        make: |sound| configured(sound, copy_of_the_home),
    },
    Mutant {
        what: "everything is active",
        clause: "HB-ISS-007",
        make: |sound| bodies(sound, |_, text| text.replace("\"active\":false", "\"active\":true")),
    },
    Mutant {
        what: "more is told of what is not active",
        clause: "HB-ISS-007",
        make: |sound| bodies(sound, |_, text| text.replace("\"active\":false", "\"active\":false,\"why\":\"revoked\"")),
    },
    Mutant {
        what: "the type of what is active is another",
        clause: "HB-ISS-007",
        make: |sound| bodies(sound, |_, text| text.replace("\"token_type\":\"Bearer\"", "\"token_type\":\"DPoP\"")),
    },
    Mutant {
        what: "an exchange does not say what came of it",
        clause: "HB-ISS-008",
        make: |sound| bodies(sound, |_, text| text.replace("issued_token_type", "token_kind")),
    },
    Mutant {
        what: "anybody may exchange",
        clause: "HB-ISS-008",
        make: |sound| bodies(sound, |_, text| text.replace("unauthorized_client", "invalid_request")),
    },
    Mutant {
        what: "what was exchanged outlives what it is of",
        clause: "HB-ISS-008",
        make: |sound| taking(sound, |claims| claims.get("act").is_some()),
    },
    Mutant {
        what: "a chain of those who act that is too long is granted",
        clause: "HB-ISS-008",
        make: |sound| {
            on(sound, "/oauth/token", StatusCode::BAD_REQUEST, |answer| {
                let is_long = answer.body().size_hint().exact() == Some(TOO_MANY.len() as u64);
                if is_long {
                    *answer.status_mut() = StatusCode::OK;
                }
            })
        },
    },
    Mutant {
        what: "nothing is granted",
        clause: "HB-ISS-003",
        make: |sound| all(sound, |answer| drop(answer.headers_mut().remove(CACHE_CONTROL))),
    },
];

/// Gives each process a home folder that is a copy of the one before it: what it writes no other sees.
fn copy_of_the_home(config: Config) -> Config {
    static HOMES: Mutex<Vec<(PathBuf, tempfile::TempDir)>> = Mutex::new(Vec::new());
    let home = config.home.clone();
    let mut homes = HOMES.lock().unwrap();
    let of_before = homes.iter().rev().find(|(of, _)| *of == home).map(|(_, folder)| folder.path().join("home"));
    let from = of_before.unwrap_or_else(|| home.clone());
    let folder = tempfile::tempdir().unwrap();
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700);
    let own = folder.path().join("home");
    private.create(&own).unwrap();
    for part in ["identity", "secrets"].into_iter().filter(|part| from.join(part).is_dir()) {
        private.create(own.join(part)).unwrap();
        for entry in std::fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), own.join(part).join(entry.file_name())).unwrap();
        }
    }
    homes.push((home, folder));
    Config { home: own, ..config }
}
