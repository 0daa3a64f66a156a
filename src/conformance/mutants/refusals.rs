use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode, Version};
use serde_json::Value;

use super::tamper::{all, answers, bodies, challenge, grpc, on, requests, retry, rewritten};
use super::{Mutant, inside, unusual};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "who has no credentials is told that he may not",
        clause: "HB-REF-001",
        make: |sound| {
            answers(sound, |asked, answer| {
                if answer.status() == StatusCode::UNAUTHORIZED && !asked.headers.contains_key(AUTHORIZATION) {
                    *answer.status_mut() = StatusCode::FORBIDDEN;
                }
            })
        },
    },
    Mutant {
        what: "a route that stands beside the layers takes bad tokens, over HTTP/2 alone",
        clause: "HB-REF-001",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_bad = answer.status() == StatusCode::UNAUTHORIZED && asked.headers.contains_key(AUTHORIZATION);
                if is_bad && asked.version == Version::HTTP_2 && asked.uri.path() == "/" {
                    *answer = Response::new(Body::from("hello"));
                }
            })
        },
    },
    Mutant {
        what: "the challenge does not say which scopes are needed",
        clause: "HB-REF-001",
        make: |sound| challenge(sound, |text| text.split(",scope=").next().map(str::to_owned)),
    },
    Mutant {
        what: "the challenge does not say how strongly to sign in",
        clause: "HB-REF-001",
        make: |sound| challenge(sound, |text| Some(text.replace("acr_values", "acr_value"))),
    },
    Mutant {
        what: "the challenge does not say how recently to sign in",
        clause: "HB-REF-001",
        make: |sound| challenge(sound, |text| Some(text.replace("max_age", "age"))),
    },
    Mutant {
        what: "the challenge does not say where the metadata is",
        clause: "HB-REF-001",
        make: |sound| challenge(sound, |text| Some(text.replace("oauth-protected-resource", "elsewhere"))),
    },
    Mutant {
        what: "there is a second challenge",
        clause: "HB-REF-001",
        make: |sound| {
            all(sound, |answer| {
                if answer.status() == StatusCode::UNAUTHORIZED {
                    answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
                }
            })
        },
    },
    Mutant {
        what: "a role that is missing is told to be a scope",
        clause: "HB-REF-001",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                let is_there = asked.uri.path() == "/strong";
                if is_there { text.replace("problem:forbidden", "problem:insufficient-scope") } else { text }
            })
        },
    },
    Mutant {
        what: "the tenant in the path is not looked at",
        clause: "HB-REF-001",
        make: |sound| on(sound, "/tenants/", StatusCode::FORBIDDEN, |answer| *answer = Response::default()),
    },
    Mutant {
        what: "what is not there is not found",
        clause: "HB-REF-001",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                let is_there = asked.uri.path().starts_with("/things/");
                if is_there { text.replace("problem:forbidden", "problem:not-found") } else { text }
            })
        },
    },
    Mutant {
        what: "a feature that is not in the plan has to be paid for",
        clause: "HB-REF-001",
        make: |sound| {
            on(sound, "/extras", StatusCode::FORBIDDEN, |answer| *answer.status_mut() = StatusCode::PAYMENT_REQUIRED)
        },
    },
    Mutant {
        what: "while the issuer is away tokens are bad ones",
        clause: "HB-REF-001",
        make: |sound| {
            all(sound, |answer| {
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                }
            })
        },
    },
    Mutant {
        what: "a panic is told in words of its own",
        clause: "HB-REF-001",
        make: |sound| bodies(sound, |_, text| text.replace("urn:halfbyte:problem:internal", "about:blank")),
    },
    Mutant {
        what: "the grpc-status is lost",
        clause: "HB-REF-001",
        make: |sound| all(sound, |answer| drop(answer.headers_mut().remove("grpc-status"))),
    },
    Mutant {
        what: "the members are in the order of the alphabet",
        clause: "HB-REF-002",
        make: |sound| {
            bodies(sound, |_, text| {
                let members: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap_or_default();
                serde_json::to_string(&members).unwrap_or_default()
            })
        },
    },
    Mutant {
        what: "there is no trace id",
        clause: "HB-REF-002",
        make: |sound| bodies(sound, |_, text| text.replace("\"trace_id\"", "\"trace\"")),
    },
    Mutant {
        what: "the trace id is no trace id",
        clause: "HB-REF-002",
        make: |sound| bodies(sound, |_, text| text.replace("\"trace_id\":\"", "\"trace_id\":\"x")),
    },
    Mutant {
        what: "it is JSON, but says not that it is a problem",
        clause: "HB-REF-002",
        make: |sound| {
            all(sound, |answer| {
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            })
        },
    },
    Mutant {
        what: "gRPC is refused with an HTTP status",
        clause: "HB-REF-003",
        make: |sound| grpc(sound, |answer| *answer.status_mut() = StatusCode::UNAUTHORIZED),
    },
    Mutant {
        what: "the grpc-message is not encoded",
        clause: "HB-REF-003",
        make: |sound| {
            grpc(sound, |answer| {
                let message =
                    answer.headers().get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or_default();
                let message = HeaderValue::from_str(&message.replace("%25", "%"));
                message.into_iter().for_each(|message| drop(answer.headers_mut().insert("grpc-message", message)));
            })
        },
    },
    Mutant {
        what: "the problem-type is lost",
        clause: "HB-REF-003",
        make: |sound| grpc(sound, |answer| drop(answer.headers_mut().remove("problem-type"))),
    },
    Mutant {
        what: "the challenge is not told to gRPC",
        clause: "HB-REF-003",
        make: |sound| grpc(sound, |answer| drop(answer.headers_mut().remove(WWW_AUTHENTICATE))),
    },
    Mutant {
        what: "a gRPC refusal has a body",
        clause: "HB-REF-003",
        make: |sound| grpc(sound, |answer| *answer.body_mut() = Body::from("no")),
    },
    Mutant {
        what: "gRPC-Web is taken for gRPC",
        clause: "HB-REF-003",
        make: |sound| {
            requests(sound, |request| {
                let sent = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
                if sent.starts_with(b"application/grpc-web") {
                    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                }
            })
        },
    },
    Mutant {
        what: "gRPC with a suffix is not known",
        clause: "HB-REF-003",
        make: |sound| {
            requests(sound, |request| {
                if request.headers().get(CONTENT_TYPE).is_some_and(|sent| sent == "application/grpc+proto") {
                    request.headers_mut().remove(CONTENT_TYPE);
                }
            })
        },
    },
    Mutant {
        what: "one refusal may be stored",
        clause: "HB-REF-004",
        make: |sound| {
            on(sound, "/extras", StatusCode::PAYMENT_REQUIRED, |answer| {
                drop(answer.headers_mut().remove(CACHE_CONTROL));
            })
        },
    },
    Mutant {
        what: "refusals may be stored, to gRPC alone",
        clause: "HB-REF-004",
        make: |sound| {
            grpc(sound, |answer| {
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store, public"));
            })
        },
    },
    Mutant {
        what: "a refusal repeats the credentials in a header",
        clause: "HB-REF-005",
        make: |sound| {
            answers(sound, |asked, answer| {
                let sent = asked.headers.get(AUTHORIZATION).filter(|_| answer.status() == StatusCode::UNAUTHORIZED);
                sent.into_iter().for_each(|sent| drop(answer.headers_mut().insert("x-debug", sent.clone())));
            })
        },
    },
    Mutant { what: "a refusal is to be tried again at once", clause: "HB-REF-006", make: |sound| retry(sound, "0") },
    Mutant {
        what: "a refusal is to be tried again on a date",
        clause: "HB-REF-006",
        make: |sound| retry(sound, "Fri, 31 Dec 1999 23:59:59 GMT"),
    },
    Mutant {
        what: "who is past due is served",
        clause: "HB-REF-007",
        make: |sound| on(sound, "/", StatusCode::PAYMENT_REQUIRED, |answer| *answer = Response::default()),
    },
    Mutant {
        what: "it is not told how large the quota is",
        clause: "HB-REF-007",
        make: |sound| {
            all(sound, |answer| {
                let has = answer.headers_mut().remove("ratelimit-policy").is_some();
                if has {
                    answer.headers_mut().insert("ratelimit-policy", HeaderValue::from_static("\"few\";q=0;w=60"));
                }
            })
        },
    },
    Mutant {
        what: "who has used up a quota of more than a few is not told so, to gRPC alone",
        clause: "HB-REF-007",
        make: |_| {
            grpc(unusual::product(), |answer| {
                drop(answer.headers_mut().remove("ratelimit"));
            })
        },
    },
    Mutant {
        what: "who has used up a quota is served",
        clause: "HB-REF-007",
        make: |sound| on(sound, "/few", StatusCode::TOO_MANY_REQUESTS, |answer| *answer = Response::default()),
    },
    Mutant {
        what: "what is not there is forbidden",
        clause: "HB-REF-008",
        make: |sound| {
            inside(sound, |routes| {
                routes.fallback(async || {
                    let row = r#"{"type":"urn:halfbyte:problem:forbidden","status":403}"#;
                    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/problem+json")], row)
                })
            })
        },
    },
];
