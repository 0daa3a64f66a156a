//! The table of refusals, written out: what a client sees of each kind, to the byte.

use std::time::Duration;

use halfbyte_core::problem::{Context, Kind, Problem, Quota};
use halfbyte_core::{RequestId, TraceId};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState};

type Body = halfbyte_core::body::Refusable<Empty<bytes::Bytes>>;

fn context(grpc: bool) -> Context {
    Context { request_id: RequestId::from_bytes(b"req-1"), trace_id: Some(TraceId([0xab; 16])), grpc }
}

/// All headers as `name: value`, in order of their names.
fn headers(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("printable"))).collect();
    lines.sort();
    lines
}

async fn body(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn quota() -> Quota {
    let (window, resets_in) = (Duration::from_secs(86_400), Duration::from_millis(59_001));
    Quota { name: "labels".into(), limit: 100, remaining: 0, window, resets_in }
}

struct Row {
    problem: Problem,
    kind: Kind,
    status: u16,
    slug: &'static str,
    title: &'static str,
    detail: &'static str,
    /// Headers beyond those that every refusal has, for HTTP and gRPC alike.
    headers: &'static [&'static str],
    grpc: u8,
}

fn table() -> Vec<Row> {
    vec![
        Row {
            problem: Problem::unauthenticated()
                .resource_metadata("https://x.test/.well-known/oauth-protected-resource"),
            kind: Kind::Unauthenticated,
            status: 401,
            slug: "unauthenticated",
            title: "Credentials needed",
            detail: r#"this needs an access token: send it as "Authorization: Bearer TOKEN""#,
            headers: &[
                r#"www-authenticate: Bearer resource_metadata="https://x.test/.well-known/oauth-protected-resource""#,
            ],
            grpc: 16,
        },
        Row {
            problem: Problem::invalid_token("the token has expired").resource_metadata("https://x.test/meta"),
            kind: Kind::InvalidToken,
            status: 401,
            slug: "invalid-token",
            title: "Credentials not accepted",
            detail: "the token has expired",
            headers: &[
                r#"www-authenticate: Bearer error="invalid_token",error_description="the token has expired",resource_metadata="https://x.test/meta""#,
            ],
            grpc: 16,
        },
        Row {
            problem: Problem::step_up_required("urn:mfa", Some(Duration::from_secs(300))),
            kind: Kind::StepUpRequired,
            status: 401,
            slug: "step-up-required",
            title: "Stronger sign-in needed",
            detail: "this needs a stronger or more recent sign-in",
            headers: &[
                r#"www-authenticate: Bearer error="insufficient_user_authentication",error_description="this needs a stronger or more recent sign-in",acr_values="urn:mfa",max_age="300""#,
            ],
            grpc: 16,
        },
        Row {
            problem: Problem::insufficient_scope(&["labels:read", "labels:write"]),
            kind: Kind::InsufficientScope,
            status: 403,
            slug: "insufficient-scope",
            title: "Scope missing",
            detail: "this needs a token with the scope: labels:read labels:write",
            headers: &[
                r#"www-authenticate: Bearer error="insufficient_scope",error_description="this needs a token with the scope: labels:read labels:write",scope="labels:read labels:write""#,
            ],
            grpc: 7,
        },
        Row {
            problem: Problem::forbidden("not yours"),
            kind: Kind::Forbidden,
            status: 403,
            slug: "forbidden",
            title: "Not allowed",
            detail: "not yours",
            headers: &[],
            grpc: 7,
        },
        Row {
            problem: Problem::not_entitled("booking"),
            kind: Kind::NotEntitled,
            status: 403,
            slug: "not-entitled",
            title: "Not in the plan",
            detail: r#"the plan of this tenant does not have the feature "booking""#,
            headers: &[],
            grpc: 7,
        },
        Row {
            problem: Problem::payment_required("the subscription is past due"),
            kind: Kind::PaymentRequired,
            status: 402,
            slug: "payment-required",
            title: "Payment needed",
            detail: "the subscription is past due",
            headers: &[],
            grpc: 9,
        },
        Row {
            problem: Problem::quota_exhausted(quota()),
            kind: Kind::QuotaExhausted,
            status: 429,
            slug: "quota-exhausted",
            title: "Quota used up",
            detail: r#"the quota of 100 for "labels" is used up"#,
            headers: &[
                r#"ratelimit-policy: "labels";q=100;w=86400"#,
                r#"ratelimit: "labels";r=0;t=60"#,
                "retry-after: 60",
            ],
            grpc: 8,
        },
        Row {
            problem: Problem::unavailable(Duration::from_millis(2500)),
            kind: Kind::Unavailable,
            status: 503,
            slug: "unavailable",
            title: "Not available",
            detail: "a system that this needs cannot be reached; try again",
            headers: &["retry-after: 3"],
            grpc: 14,
        },
        Row {
            problem: Problem::overloaded(Duration::ZERO),
            kind: Kind::Overloaded,
            status: 503,
            slug: "overloaded",
            title: "Overloaded",
            detail: "too many requests at once; try again",
            headers: &["retry-after: 1"],
            grpc: 14,
        },
        Row {
            problem: Problem::draining(),
            kind: Kind::Draining,
            status: 503,
            slug: "draining",
            title: "About to stop",
            detail: "this server is about to stop; try again",
            headers: &["retry-after: 1"],
            grpc: 14,
        },
        Row {
            problem: Problem::deadline_exceeded(),
            kind: Kind::DeadlineExceeded,
            status: 504,
            slug: "deadline-exceeded",
            title: "Took too long",
            detail: "this took longer than the server allows",
            headers: &[],
            grpc: 4,
        },
        Row {
            problem: Problem::internal(),
            kind: Kind::Internal,
            status: 500,
            slug: "internal",
            title: "Unexpected error",
            detail: "an unexpected error; the request id names it in the server's log",
            headers: &[],
            grpc: 13,
        },
    ]
}

#[tokio::test]
async fn each_kind_is_this_over_http() {
    for row in table() {
        let (slug, detail) = (row.slug, serde_json::to_string(row.detail).expect("text"));
        let expected_body = format!(
            r#"{{"type":"urn:halfbyte:problem:{slug}","title":"{}","status":{},"detail":{detail},"request_id":"req-1","trace_id":"{}"}}"#,
            row.title,
            row.status,
            "ab".repeat(16),
        );
        let mut expected: Vec<_> = row.headers.iter().map(|&line| line.to_owned()).collect();
        expected.push("cache-control: no-store".into());
        expected.push("content-type: application/problem+json".into());
        expected.push(format!("content-length: {}", expected_body.len()));
        if row.kind == Kind::Draining {
            expected.push("connection: close".into());
        }
        expected.sort();

        let response: Response<Body> = row.problem.to_response(&context(false));
        assert_eq!(response.status().as_u16(), row.status, "{slug}");
        assert_eq!(headers(response.headers()), expected, "{slug}");
        assert_eq!(response.extensions().get(), Some(&row.kind));
        assert_eq!(body(response).await, expected_body);
        assert_eq!((row.problem.kind(), row.kind.slug()), (row.kind, slug));
        assert_eq!(row.problem.to_string(), format!("{slug}: {}", row.detail));
    }
}

#[tokio::test]
async fn each_kind_is_this_over_grpc() {
    for row in table() {
        let slug = row.slug;
        let mut expected: Vec<_> = row.headers.iter().map(|&line| line.to_owned()).collect();
        expected.push("cache-control: no-store".into());
        expected.push("content-type: application/grpc".into());
        expected.push(format!("grpc-status: {}", row.grpc));
        expected.push(format!("grpc-message: {}", row.detail));
        expected.push(format!("problem-type: urn:halfbyte:problem:{slug}"));
        expected.sort();

        let response: Response<Body> = row.problem.to_response(&context(true));
        assert_eq!(response.status(), StatusCode::OK, "{slug}");
        assert_eq!(headers(response.headers()), expected, "{slug}");
        assert_eq!(response.extensions().get(), Some(&row.kind));
        assert_eq!(body(response).await, "", "{slug}");
    }
}

#[test]
fn every_kind_is_in_the_table_above() {
    assert!(Kind::all().eq(table().iter().map(|row| row.kind)));
}

#[tokio::test]
async fn a_body_names_no_request_and_no_trace_where_there_are_none() {
    let response: Response<Body> = Problem::internal().to_response(&Context::default());
    let body: serde_json::Value = serde_json::from_str(&body(response).await).expect("JSON");
    assert!(body.get("request_id").is_none() && body.get("trace_id").is_none(), "{body}");
}

#[tokio::test]
async fn quotes_and_line_ends_in_a_detail_stay_in_the_body() {
    let nasty = "a\"b\\c\r\nset-cookie: x=1\u{7f}é%\t";
    let problems = [
        Problem::insufficient_scope(&[nasty]),
        Problem::step_up_required(nasty, None),
        Problem::unauthenticated().resource_metadata(nasty),
        Problem::forbidden(nasty),
        Problem::payment_required(nasty),
        Problem::not_entitled(nasty),
        Problem::quota_exhausted(Quota { name: nasty.into(), ..quota() }),
    ];
    for problem in problems {
        for grpc in [false, true] {
            let response: Response<Body> = problem.to_response(&context(grpc));
            for (name, value) in response.headers() {
                let value = value.as_bytes();
                assert!(value.iter().all(|byte| (b' '..=b'~').contains(byte)), "{name}: {value:?}");
                let quotes = value.iter().filter(|byte| **byte == b'"').count();
                assert!(name == "grpc-message" || quotes % 2 == 0, "{name} holds a stray quote: {value:?}");
                assert!(!value.windows(2).any(|pair| pair == b"\\\""), "{name}");
            }
            assert!(!response.headers().contains_key("set-cookie"));
            if !grpc {
                let _valid: serde_json::Value = serde_json::from_str(&body(response).await).expect("JSON");
            }
        }
    }
}

#[test]
fn a_401_never_loses_its_challenge_nor_a_429_its_limits() {
    let nasty = "schlüssel\n\"x\"";
    let challenge = |problem: Problem| {
        let response: Response<Body> = problem.to_response(&Context::default());
        response.headers()["www-authenticate"].to_str().expect("printable").to_owned()
    };
    assert_eq!(challenge(Problem::unauthenticated()), "Bearer");
    assert_eq!(
        challenge(Problem::insufficient_scope(&[nasty])),
        r#"Bearer error="insufficient_scope",error_description="this needs a token with the scope: schlsselx",scope="schlsselx""#
    );
    assert_eq!(
        challenge(Problem::unauthenticated().resource_metadata(nasty)),
        r#"Bearer resource_metadata="schlsselx""#
    );
    let quota = Quota { name: nasty.into(), limit: u64::MAX, remaining: u64::MAX, ..quota() };
    let response: Response<Body> = Problem::quota_exhausted(quota).to_response(&Context::default());
    // The largest integer that a structured field can hold.
    assert_eq!(response.headers()["ratelimit-policy"], r#""schlsselx";q=999999999999999;w=86400"#);
    assert_eq!(response.headers()["ratelimit"], r#""schlsselx";r=999999999999999;t=60"#);
}

#[test]
fn a_grpc_message_is_percent_encoded() {
    let response: Response<Body> = Problem::forbidden("50% of é\n\"x\"").to_response(&context(true));
    assert_eq!(response.headers()["grpc-message"], r#"50%25 of %C3%A9%0A"x""#);
}

#[test]
fn a_wait_is_rounded_up_to_whole_seconds_and_at_least_one() {
    for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
        let problem = Problem::unavailable(Duration::from_millis(millis));
        let response: Response<Body> = problem.to_response(&Context::default());
        assert_eq!(response.headers()["retry-after"], seconds, "{millis} ms");
    }
}

#[test]
fn a_request_is_grpc_by_its_content_type() {
    let table = [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc+json", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc ; x", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcx", false),
        ("application/json", false),
        ("text/plain; application/grpc", false),
        ("", false),
    ];
    for (content_type, grpc) in table {
        let request = Request::builder().header("content-type", content_type).body(()).expect("a request");
        assert_eq!(Context::of(&request).grpc, grpc, "{content_type:?}");
    }
    assert!(!Context::of(&Request::new(())).grpc);
}

#[test]
fn a_context_takes_the_id_of_the_request_and_the_trace_that_is_current() {
    let mut request = Request::new(());
    let id = RequestId::random();
    request.extensions_mut().insert(id);
    assert_eq!(Context::of(&request).trace_id, None);
    let (trace, span) = (opentelemetry::TraceId::from_bytes([7; 16]), opentelemetry::SpanId::from_bytes([1; 8]));
    let span = SpanContext::new(trace, span, TraceFlags::default(), true, TraceState::NONE);
    let _current = opentelemetry::Context::new().with_remote_span_context(span).attach();
    let context = Context::of(&request);
    assert_eq!((context.request_id, context.trace_id), (Some(id), Some(TraceId([7; 16]))));
}

#[test]
fn debug_shows_the_kind_and_the_detail() {
    let shown = format!("{:?}", Problem::forbidden("not yours"));
    assert_eq!(shown, "Problem { kind: Forbidden, detail: \"not yours\", .. }");
}

#[test]
fn a_client_that_sends_dpop_proofs_is_challenged_by_that_scheme() {
    let answer = |problem: Problem| problem.resource_metadata("https://a/m").to_response::<String>(&Context::default());
    let refused = answer(Problem::invalid_token("the access token has expired").dpop("ES256 EdDSA"));
    assert_eq!(
        refused.headers()["www-authenticate"],
        "DPoP error=\"invalid_token\",error_description=\"the access token has expired\",resource_metadata=\"https://a/m\",algs=\"ES256 EdDSA\""
    );
    let refused = answer(Problem::invalid_dpop_proof("no proof").dpop("ES256"));
    assert_eq!(
        refused.headers()["www-authenticate"],
        "DPoP error=\"invalid_dpop_proof\",error_description=\"no proof\",resource_metadata=\"https://a/m\",algs=\"ES256\""
    );
    let refused = answer(Problem::use_dpop_nonce("n-1").dpop("ES256"));
    assert_eq!(refused.headers()["dpop-nonce"], "n-1");
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("DPoP error=\"use_dpop_nonce\","), "{challenge}");
}
