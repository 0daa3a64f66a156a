use std::net::SocketAddr;

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::tamper::{all, answers, bodies, on, requests, rewritten};
use super::{Mutant, behind, boasting, listener};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "the id of the request is lost",
        clause: "HB-REQ-001",
        make: |sound| all(sound, |answer| drop(answer.headers_mut().remove("x-request-id"))),
    },
    Mutant {
        what: "the id of the request is not looked at",
        clause: "HB-REQ-001",
        make: |sound| requests(sound, |request| drop(request.headers_mut().remove("x-request-id"))),
    },
    Mutant {
        what: "an id that is too long is kept",
        clause: "HB-REQ-001",
        make: |sound| {
            answers(sound, |asked, answer| {
                let id = asked.headers.get("x-request-id").filter(|id| id.len() > 64).cloned();
                id.into_iter().for_each(|id| drop(answer.headers_mut().insert("x-request-id", id)));
            })
        },
    },
    Mutant {
        what: "ids are of version 4",
        clause: "HB-REQ-001",
        make: |sound| {
            answers(sound, |asked, answer| {
                if !asked.headers.contains_key("x-request-id") {
                    let id = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
                    id.into_iter().for_each(|id| drop(answer.headers_mut().insert("x-request-id", id)));
                }
            })
        },
    },
    Mutant {
        what: "what is not there has no id, over HTTP/2",
        clause: "HB-REQ-001",
        make: |sound| {
            answers(sound, |asked, answer| {
                if answer.status() == StatusCode::NOT_FOUND && asked.version == Version::HTTP_2 {
                    answer.headers_mut().remove("x-request-id");
                }
            })
        },
    },
    Mutant {
        what: "traces are not continued",
        clause: "HB-REQ-002",
        make: |sound| requests(sound, |request| drop(request.headers_mut().remove("traceparent"))),
    },
    Mutant {
        what: "there is one trace for all",
        clause: "HB-REQ-002",
        make: |sound| {
            requests(sound, |request| {
                let is_sent = request.headers().get("traceparent").is_some_and(|parent| parent.len() == 55);
                if !is_sent {
                    let one = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
                    request.headers_mut().insert("traceparent", one);
                }
            })
        },
    },
    Mutant {
        what: "the trace of anybody is continued",
        clause: "HB-REQ-002",
        make: |sound| {
            rewritten(sound, |asked, _, text| {
                let parent =
                    asked.headers.get("traceparent").and_then(|parent| parent.to_str().ok()).unwrap_or_default();
                let is_part = |part: &str| {
                    part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && part.bytes().any(|b| b != b'0')
                };
                let parts: Vec<_> = parent.split('-').collect();
                let (["00", trace, span, _], Some(at)) = (&parts[..], text.find("trace_id")) else { return text };
                if trace.len() != 32 || !is_part(trace) || !is_part(span) {
                    return text;
                }
                format!("{}trace_id\":\"{trace}\"}}", &text[..at])
            })
        },
    },
    Mutant {
        what: "routes are looked up before credentials",
        clause: "HB-REQ-003",
        make: |sound| {
            on(sound, "/conformance-that", StatusCode::UNAUTHORIZED, |answer| {
                *answer.status_mut() = StatusCode::NOT_FOUND
            })
        },
    },
    Mutant {
        what: "well-known documents ask for credentials",
        clause: "HB-REQ-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                if asked.uri.path().starts_with("/.well-known") && asked.headers.contains_key(AUTHORIZATION) {
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                }
            })
        },
    },
    Mutant {
        what: "a body that cannot be read is told to anybody",
        clause: "HB-REQ-003",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_short = asked.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "1");
                if is_short && asked.uri.path() == "/things" && !asked.headers.contains_key(AUTHORIZATION) {
                    *answer.status_mut() = StatusCode::BAD_REQUEST;
                }
            })
        },
    },
    Mutant {
        what: "a deadline that passes is the gateway's",
        clause: "HB-REQ-004",
        make: |sound| bodies(sound, |status, text| if status == 504 { "{}".into() } else { text }),
    },
    Mutant {
        what: "it takes more at once than it says",
        clause: "HB-REQ-005",
        make: |sound| boasting(sound, |manifest| _ = manifest.limits.insert("requests_in_flight".into(), 50)),
    },
    Mutant {
        what: "it takes less at once than it says",
        clause: "HB-REQ-005",
        make: |sound| boasting(sound, |manifest| _ = manifest.limits.insert("requests_in_flight".into(), 110)),
    },
    Mutant {
        what: "credentials are looked at though there is no room",
        clause: "HB-REQ-005",
        make: |sound| {
            answers(sound, |asked, answer| {
                let is_bad = asked.headers.get_all(AUTHORIZATION).iter().count() > 1;
                if is_bad && answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                }
            })
        },
    },
    Mutant { what: "a head of any size is read", clause: "HB-REQ-006", make: |sound| behind(sound, any_head) },
    Mutant {
        what: "it serves more connections than it says",
        clause: "HB-REQ-006",
        make: |sound| boasting(sound, |manifest| _ = manifest.limits.insert("connections".into(), 20)),
    },
];

/// Answers well whatever is sent to it.
#[expect(clippy::disallowed_methods, reason = "it is no part of the product")]
pub(super) fn any_head(_product: SocketAddr) -> SocketAddr {
    let (listener, address) = listener();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut buffer, mut last) = (vec![0; 1 << 16], Vec::new());
                while !last.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(read) if read > 0 => last = buffer[read.saturating_sub(4)..read].to_vec(),
                        _ => break,
                    }
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await
            });
        }
    });
    address
}
