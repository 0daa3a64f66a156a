use halfbyte_core::config::ApiKeysBackend;
use http::StatusCode;
use http::request::Parts;

use super::tamper::{all, answers, rewritten};
use super::tokens::{credentials, sent, serve, taking};
use super::{Mutant, configured};
use crate::conformance::tokens::claims_of;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a token that is bound to a key is taken without a proof",
        clause: "HB-AUTH-009",
        make: |sound| {
            answers(sound, |asked, answer| {
                let sent = sent(&asked.headers);
                serve(answer, sent.starts_with("Bearer ") && claims_of(&sent)["cnf"]["jkt"].is_string());
            })
        },
    },
    Mutant {
        what: "DPoP is not known",
        clause: "HB-AUTH-009",
        make: |sound| credentials(sound, |sent| sent.starts_with("DPoP ").then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "a token that is bound to nothing is taken with a proof",
        clause: "HB-AUTH-009",
        make: |sound| {
            answers(sound, |asked, answer| {
                let sent = sent(&asked.headers);
                serve(answer, sent.starts_with("DPoP ") && claims_of(&sent).get("cnf").is_none());
            })
        },
    },
    Mutant {
        what: "a binding that is not known does not matter",
        clause: "HB-AUTH-009",
        make: |sound| taking(sound, |claims| claims["cnf"]["kid"].is_string()),
    },
    Mutant {
        what: "anybody is a proxy",
        clause: "HB-AUTH-009",
        make: |sound| answers(sound, |asked, answer| serve(answer, asked.headers.contains_key("client-cert"))),
    },
    Mutant {
        what: "a token that is bound to a certificate is taken without it",
        clause: "HB-AUTH-009",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_bound = claims_of(&sent(&asked.headers))["cnf"]["x5t#S256"].is_string();
                serve(answer, is_bound && !asked.headers.contains_key("client-cert"));
            })
        },
    },
    Mutant {
        what: "a proof is for any method",
        clause: "HB-AUTH-010",
        make: |sound| {
            answers(sound, |asked, answer| {
                let method = proof(asked)["htm"].as_str().map(str::to_owned);
                serve(answer, method.is_some_and(|method| method != asked.method.as_str()));
            })
        },
    },
    Mutant {
        what: "a proof is for any address",
        clause: "HB-AUTH-010",
        make: |sound| {
            answers(sound, |asked, answer| {
                let address = proof(asked)["htu"].as_str().map(str::to_owned);
                serve(answer, address.is_some_and(|address| !address.ends_with(asked.uri.path())));
            })
        },
    },
    Mutant {
        what: "a proof is for any token",
        clause: "HB-AUTH-010",
        make: |sound| {
            answers(sound, |asked, answer| {
                serve(answer, proof(asked).get("jti").is_some() && proof(asked).get("ath").is_none());
            })
        },
    },
    Mutant {
        what: "a proof is good for ever",
        clause: "HB-AUTH-010",
        make: |sound| {
            answers(sound, |asked, answer| {
                let now = halfbyte_core::Clock::system().now().as_second();
                serve(answer, proof(asked)["iat"].as_i64().is_some_and(|iat| iat < now - 60));
            })
        },
    },
    Mutant {
        what: "a proof is good as often as it is sent",
        clause: "HB-AUTH-010",
        make: |sound| answers(sound, |asked, answer| serve(answer, asked.headers.contains_key("dpop"))),
    },
    Mutant {
        what: "the challenge does not say that the proof is bad",
        clause: "HB-AUTH-010",
        make: |sound| super::tamper::challenge(sound, |text| Some(text.replace("invalid_dpop_proof", "invalid_token"))),
    },
    Mutant {
        what: "the nonce is lost",
        clause: "HB-AUTH-010",
        make: |sound| all(sound, |answer| drop(answer.headers_mut().remove("dpop-nonce"))),
    },
    Mutant {
        what: "nonces are not asked for",
        clause: "HB-AUTH-010",
        make: |sound| {
            answers(sound, |_, answer| {
                let is_asked_for = answer.headers().contains_key("dpop-nonce");
                serve(answer, is_asked_for);
            })
        },
    },
    Mutant {
        what: "API keys of another environment are taken",
        clause: "HB-AUTH-012",
        make: |sound| credentials(sound, |sent| sent.contains("hb_live_").then(|| sent.replace("hb_live_", "hb_dev_"))),
    },
    Mutant {
        what: "bad API keys are told apart",
        clause: "HB-AUTH-012",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                let is_staging = sent(&asked.headers).contains("hb_stg_");
                if is_staging { text.replace("\"detail\":\"", "\"detail\":\"this is of staging: ") } else { text }
            })
        },
    },
    Mutant {
        what: "API keys are not known",
        clause: "HB-AUTH-012",
        make: |sound| credentials(sound, |sent| sent.contains("hb_dev_").then(|| "Bearer a.b.c".to_owned())),
    },
    Mutant {
        what: "API keys that were revoked are taken",
        clause: "HB-AUTH-012",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_key = sent(&asked.headers).contains("hb_dev_");
                serve(answer, is_key && answer.status() == StatusCode::UNAUTHORIZED);
            })
        },
    },
    Mutant {
        what: "API keys cannot be turned off",
        clause: "HB-AUTH-012",
        make: |sound| {
            configured(sound, |mut config| {
                config.api_keys = ApiKeysBackend::Embedded;
                config
            })
        },
    },
];

/// The claims of the proof that was sent.
fn proof(asked: &Parts) -> serde_json::Value {
    asked.headers.get("dpop").and_then(|proof| proof.to_str().ok()).map(claims_of).unwrap_or_default()
}
