//! HB-REF: what refusals look like.

use halfbyte_core::problem::Kind;
use halfbyte_identity::testing::Outage;
use http::{StatusCode, Version};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::bench::{Bench, fresh};
use super::check::{Check, Found, Holds, NO_ROUTE, ensure};
use super::client::{Answer, Ask};
use super::product::PANICS;
use super::provoke::{self, Provoked};
use super::quota::Scarce;
use super::sample::Does;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-REF-001",
        what: "who calls a guarded route without credentials is refused with unauthenticated",
        run: |bench| Box::pin(async move { rows(bench, provoke::without_credentials(bench)).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "a bad token is refused with invalid-token at every route",
        run: |bench| Box::pin(async move { rows(bench, provoke::with_a_bad_token(bench)).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "who lacks one of the scopes is refused with insufficient-scope",
        run: |bench| Box::pin(async move { rows(bench, provoke::without_a_scope(bench).await?).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "who has signed in too weakly or too long ago is refused with step-up-required",
        run: |bench| Box::pin(async move { rows(bench, provoke::signed_in_weakly(bench).await?).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "who lacks one of the roles is refused with forbidden",
        run: |bench| Box::pin(async move { rows(bench, provoke::without_a_role(bench).await?).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "who names another tenant in the path is refused with forbidden",
        run: |bench| Box::pin(async move { rows(bench, provoke::at_another_tenant(bench).await?).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "what no policy permits is refused with forbidden",
        run: |bench| Box::pin(async move { rows(bench, provoke::at_nothing(bench).await?).await }),
    },
    Check {
        clause: "HB-REF-001",
        what: "whose plan lacks the feature is refused with not-entitled",
        run: |bench| {
            Box::pin(async move {
                let provoked = provoke::without_the_feature(bench).await?;
                rows(bench, provoked).await
            })
        },
    },
    Check {
        clause: "HB-REF-001",
        what: "while the issuer was never there a token is refused with unavailable",
        run: |bench| Box::pin(unavailable(bench)),
    },
    Check {
        clause: "HB-REF-001",
        what: "a handler that panics is answered with internal",
        run: |bench| Box::pin(internal(bench)),
    },
    Check {
        clause: "HB-REF-002",
        what: "the body of a refusal has its members in their order",
        run: |bench| Box::pin(bodies(bench)),
    },
    Check {
        clause: "HB-REF-003",
        what: "to gRPC a refusal is trailers alone, and says all that it says over HTTP",
        run: |bench| Box::pin(trailers_only(bench)),
    },
    Check {
        clause: "HB-REF-003",
        what: "what is gRPC is told by the content type, with a suffix or parameters, and nothing like it",
        run: |bench| Box::pin(content_types(bench)),
    },
    Check { clause: "HB-REF-004", what: "no refusal may be stored", run: |bench| Box::pin(no_store(bench)) },
    Check {
        clause: "HB-REF-005",
        what: "no refusal repeats credentials or holds a secret",
        run: |bench| Box::pin(no_secret(bench)),
    },
    Check {
        clause: "HB-REF-006",
        what: "Retry-After is in whole seconds, at least 1",
        run: |bench| Box::pin(retry_after(bench)),
    },
    Check {
        clause: "HB-REF-007",
        what: "who is past due is refused with payment-required",
        run: |bench| {
            Box::pin(async move {
                let provoked = provoke::past_due(bench).await?;
                rows(bench, provoked).await
            })
        },
    },
    Check {
        clause: "HB-REF-007",
        what: "who has used up a quota is refused with quota-exhausted, and told how much there is and when again",
        run: |bench| Box::pin(quota(bench)),
    },
    Check {
        clause: "HB-REF-008",
        what: "what no route answers is no row of the table",
        run: |bench| Box::pin(no_row(bench)),
    },
];

/// Whether `answer` is of the row of `kind`, by the protocol in which it was asked for, whatever its headers say besides.
pub(super) fn is_refusal(answer: &Answer, kind: Kind) -> Result<(), String> {
    if answer.is_grpc {
        ensure(answer.status == StatusCode::OK, || format!("gRPC is answered with the HTTP status {}", answer.status))?;
        let (code, status) = (kind.grpc_code().to_string(), answer.grpc_status());
        ensure(status == Some(&code), || format!("the grpc-status is {status:?} and not {code}"))?;
        let urn = answer.header("problem-type");
        return ensure(urn == Some(kind.urn()), || format!("the problem-type is {urn:?} and not {}", kind.urn()));
    }
    ensure(answer.status == kind.status(), || format!("{} and not {}", answer.status, kind.status()))?;
    let content_type = answer.header("content-type");
    ensure(content_type == Some("application/problem+json"), || format!("the content-type is {content_type:?}"))?;
    let problem = answer.json()?;
    ensure(problem["type"] == kind.urn(), || format!("the type is {} and not {}", problem["type"], kind.urn()))?;
    ensure(problem["title"] == kind.title(), || format!("the title is {}", problem["title"]))?;
    ensure(problem["status"] == kind.status().as_u16(), || format!("the body says {}", problem["status"]))?;
    let id = answer.header("x-request-id");
    ensure(problem["request_id"].as_str() == id, || format!("the body is of request {}", problem["request_id"]))
}

/// Whether `answer` is the row of `kind`, whole.
pub(super) fn is_row(answer: &Answer, kind: Kind, challenge: &str, metadata: &str) -> Result<(), String> {
    is_refusal(answer, kind)?;
    ensure(!answer.detail().is_empty(), || "it has no detail".to_owned())?;
    let (expected, got) =
        (challenge_of(kind, &answer.detail(), challenge, metadata), answer.values("www-authenticate"));
    ensure(got == Vec::from_iter(expected.as_deref()), || format!("the challenge is {got:?} and not {expected:?}"))?;
    let has = |name: &str, kinds: &[Kind]| {
        let (is_there, should) = (answer.headers.contains_key(name), kinds.contains(&kind));
        let how = || if is_there { format!("there is a {name}") } else { format!("there is no {name}") };
        ensure(is_there == should, how)
    };
    has("retry-after", &[Kind::QuotaExhausted, Kind::Unavailable, Kind::Overloaded, Kind::Draining])?;
    has("ratelimit", &[Kind::QuotaExhausted])?;
    has("ratelimit-policy", &[Kind::QuotaExhausted])
}

/// What `WWW-Authenticate` must say.
fn challenge_of(kind: Kind, detail: &str, more: &str, metadata: &str) -> Option<String> {
    let error = match kind {
        Kind::Unauthenticated => return Some(format!("Bearer resource_metadata=\"{metadata}\"")),
        Kind::InvalidToken => "invalid_token",
        Kind::StepUpRequired => "insufficient_user_authentication",
        Kind::InsufficientScope => "insufficient_scope",
        _ => return None,
    };
    let description = quotable(detail);
    Some(format!("Bearer error=\"{error}\",error_description=\"{description}\"{more},resource_metadata=\"{metadata}\""))
}

/// What of `text` can stand in quotes.
pub(super) fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
}

/// Where the metadata of the product is.
pub(super) fn metadata(bench: &Bench<'_>) -> String {
    bench.product.platform.identity().resource_metadata().to_owned()
}

/// The request by each protocol.
pub(super) fn by_each_protocol(ask: Ask) -> [Ask; 3] {
    let [one, two] = by_each_http(&ask);
    [one, two, ask.in_grpc()]
}

/// The request by each version of HTTP, and not as gRPC.
pub(super) fn by_each_http(ask: &Ask) -> [Ask; 2] {
    let ask = ask.clone().over_http();
    [ask.clone(), ask.http2()]
}

/// Each of `provoked` is its row by each protocol.
async fn rows(bench: &mut Bench<'_>, provoked: Vec<Provoked>) -> Found {
    if provoked.is_empty() {
        return Ok(Holds::NotHere("no route can refuse so"));
    }
    let metadata = metadata(bench);
    for Provoked { ask, kind, challenge } in provoked {
        for ask in by_each_protocol(ask) {
            let answer = bench.send(ask.clone()).await?;
            is_row(&answer, kind, &challenge, &metadata).map_err(|how| of(&ask, how))?;
        }
    }
    Ok(Holds::Yes)
}

/// What is wrong, with where.
pub(super) fn of(ask: &Ask, how: String) -> String {
    let protocol = match ask.version {
        _ if ask.is_grpc() => "gRPC",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    };
    format!("{} {} over {protocol}: {how}", ask.method, ask.path)
}

async fn unavailable(bench: &mut Bench<'_>) -> Found {
    let answers = while_the_issuer_is_away(bench).await?;
    for (ask, answer) in &answers {
        is_row(answer, Kind::Unavailable, "", "").map_err(|how| of(ask, how))?;
    }
    Ok(Holds::if_any(answers.len(), NO_ROUTE))
}

/// Good requests to a product whose issuer was never there.
async fn while_the_issuer_is_away(bench: &mut Bench<'_>) -> Result<Vec<(Ask, Answer)>, String> {
    let issuer = super::product::issuer().await?;
    issuer.outage(Outage::Refuse);
    let product = bench.suite.start(&[("HALFBYTE_IDENTITY_URL", &issuer.config_url())]).await?;
    let tenant = bench.customer().await?;
    let mut answers = Vec::new();
    for route in bench.manifest().routes {
        let token = issuer.token(&bench.persona(&route, &tenant), bench.audience());
        for ask in by_each_protocol(bench.ask(&route, tenant.as_str()).bearer(&token)) {
            let answer = bench.send_to(&product, ask.clone()).await?;
            answers.push((ask, answer));
        }
    }
    product.stop().await?;
    Ok(answers)
}

async fn internal(bench: &mut Bench<'_>) -> Found {
    let mut asks = vec![Ask::new("GET", PANICS)];
    for route in bench.those(Does::Panic) {
        let tenant = bench.customer().await?;
        asks.push(bench.ask(&route, tenant.as_str()).bearer(&bench.token(&bench.persona(&route, &tenant))));
    }
    let provoked = |ask| Provoked { ask, kind: Kind::Internal, challenge: String::new() };
    rows(bench, asks.into_iter().map(provoked).collect()).await
}

/// The names of an object's members in the order of the text.
struct Members(Vec<String>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Members(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

async fn bodies(bench: &mut Bench<'_>) -> Found {
    let all = provoke::all(bench).await?;
    let asked = all.len();
    for Provoked { ask, .. } in all {
        for ask in by_each_http(&ask) {
            let answer = bench.send(ask.clone()).await?;
            is_body(&answer).map_err(|how| of(&ask, how))?;
        }
    }
    Ok(Holds::if_any(asked, NO_ROUTE))
}

fn is_body(answer: &Answer) -> Result<(), String> {
    const MEMBERS: [&str; 6] = ["type", "title", "status", "detail", "request_id", "trace_id"];
    let content_type = answer.header("content-type");
    ensure(content_type == Some("application/problem+json"), || format!("the content-type is {content_type:?}"))?;
    let members = serde_json::from_slice::<Members>(&answer.body);
    let members = members.map_err(|error| format!("the body is no object: {error}"))?.0;
    ensure(members == MEMBERS, || format!("the members are {members:?}"))?;
    let problem = answer.json()?;
    let is_text = ["type", "title", "detail", "request_id", "trace_id"].iter().all(|name| problem[name].is_string());
    ensure(is_text && problem["status"].is_u64(), || format!("the members are {problem}"))?;
    let trace = problem["trace_id"].as_str().unwrap_or_default();
    let is_trace = trace.len() == 32 && trace.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ensure(is_trace && trace.bytes().any(|b| b != b'0'), || format!("{trace:?} is no trace id"))
}

async fn trailers_only(bench: &mut Bench<'_>) -> Found {
    let all = provoke::all(bench).await?;
    let asked = all.len();
    for Provoked { ask, .. } in all {
        let http = bench.send(ask.clone().over_http().http2()).await?;
        let grpc = bench.send(ask.clone().in_grpc()).await?;
        says_the_same(&http, &grpc).map_err(|how| of(&ask.in_grpc(), how))?;
    }
    Ok(Holds::if_any(asked, NO_ROUTE))
}

fn says_the_same(http: &Answer, grpc: &Answer) -> Result<(), String> {
    ensure(grpc.status == StatusCode::OK, || format!("the HTTP status is {}", grpc.status))?;
    let is_alone = grpc.body.is_empty() && grpc.trailers.is_empty() && grpc.headers.contains_key("grpc-status");
    ensure(is_alone, || "there is more than one head".to_owned())?;
    let content_type = grpc.header("content-type");
    ensure(content_type == Some("application/grpc"), || format!("the content-type is {content_type:?}"))?;
    let message = grpc.header("grpc-message").unwrap_or_default();
    let is_escape =
        |rest: &str| rest.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let is_plain = message.bytes().all(|byte| matches!(byte, b' '..=b'~')) && message.split('%').skip(1).all(is_escape);
    ensure(is_plain && !message.is_empty(), || format!("the grpc-message is {message:?}"))?;
    let (detail, decoded) = (http.detail(), grpc.detail());
    ensure(detail == decoded, || format!("the grpc-message says {decoded:?} and the detail {detail:?}"))?;
    let (urn, kind) = (grpc.header("problem-type"), http.json()?["type"].clone());
    ensure(kind == urn.unwrap_or_default(), || format!("the problem-type is {urn:?} and the type {kind}"))?;
    for name in ["www-authenticate", "ratelimit-policy", "cache-control"] {
        let (over_http, over_grpc) = (http.values(name), grpc.values(name));
        ensure(over_http == over_grpc, || format!("{name} is {over_grpc:?} and over HTTP {over_http:?}"))?;
    }
    // Their values may have gone on by a second.
    for name in ["retry-after", "ratelimit", "x-request-id"] {
        let is_on_one = http.headers.contains_key(name) != grpc.headers.contains_key(name);
        ensure(!is_on_one, || format!("{name} is there by one protocol alone"))?;
    }
    Ok(())
}

async fn content_types(bench: &mut Bench<'_>) -> Found {
    let table = [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcx", false),
        ("application/json", false),
    ];
    let all = provoke::with_a_bad_token(bench);
    let asked = all.len();
    for Provoked { ask, kind, challenge } in all {
        let metadata = metadata(bench);
        for (content_type, is_grpc) in table {
            let ask = ask.clone().http2().with_content_type(content_type);
            let answer = bench.send(ask.clone()).await?;
            let with = |how| of(&ask, format!("to {content_type}: {how}"));
            ensure(answer.headers.contains_key("grpc-status") == is_grpc, || "by the wrong protocol".into())
                .map_err(with)?;
            is_row(&answer, kind, &challenge, &metadata).map_err(with)?;
        }
    }
    Ok(Holds::if_any(asked, NO_ROUTE))
}

async fn no_store(bench: &mut Bench<'_>) -> Found {
    let all = provoke::all(bench).await?;
    let asked = all.len();
    for Provoked { ask, .. } in all {
        for ask in by_each_protocol(ask) {
            let answer = bench.send(ask.clone()).await?;
            let caching = answer.values("cache-control");
            ensure(caching == ["no-store"], || of(&ask, format!("cache-control is {caching:?}")))?;
        }
    }
    Ok(Holds::if_any(asked, NO_ROUTE))
}

async fn no_secret(bench: &mut Bench<'_>) -> Found {
    /// Shorter parts of credentials stand in an answer by chance.
    const TELLING: usize = 24;
    let mut asks: Vec<_> = provoke::all(bench).await?.into_iter().map(|provoked| provoked.ask).collect();
    let secret = format!("{}.{}.{}", "c".repeat(TELLING), "d".repeat(TELLING), "e".repeat(TELLING));
    for route in bench.manifest().routes {
        asks.push(bench.ask(&route, "nobody").bearer(&secret));
        asks.push(bench.ask(&route, "nobody").bearer(&format!("hb_dev_{}_{}", "f".repeat(12), "1".repeat(49))));
    }
    let asked = asks.len();
    for ask in asks {
        let sent = ask.headers.get("authorization").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let sent = sent.unwrap_or_default();
        let parts = sent.split([' ', '.']).filter(|part| part.len() >= TELLING);
        let secrets: Vec<_> = parts.chain([bench.suite.canary.as_str()]).collect();
        for ask in by_each_protocol(ask.clone()) {
            let answer = bench.send(ask.clone()).await?;
            let held = secrets.iter().any(|secret| answer.holds(secret));
            ensure(!held, || of(&ask, "what is secret stands in the answer".into()))?;
        }
    }
    Ok(Holds::if_any(asked, NO_ROUTE))
}

async fn retry_after(bench: &mut Bench<'_>) -> Found {
    let mut answers = while_the_issuer_is_away(bench).await?;
    for Provoked { ask, .. } in provoke::all(bench).await? {
        let answer = bench.send(ask.clone()).await?;
        answers.push((ask, answer));
    }
    for (ask, answer) in &answers {
        let values = answer.values("retry-after");
        let is_whole =
            |value: &&str| value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<u64>().is_ok_and(|s| s > 0);
        ensure(values.len() <= 1 && values.iter().all(is_whole), || of(ask, format!("Retry-After is {values:?}")))?;
    }
    Ok(Holds::if_any(answers.len(), NO_ROUTE))
}

async fn quota(bench: &mut Bench<'_>) -> Found {
    let metadata = metadata(bench);
    let routes = Scarce::of_plan(bench).await?;
    let asked = routes.len();
    for scarce in routes {
        let (feature, included) = (&scarce.metered.feature, scarce.included);
        let good = scarce.metered.good.clone();
        for _ in 0..scarce.calls {
            let ask = good.clone().key(&fresh());
            let answer = bench.send(ask.clone()).await?;
            ensure(answer.is_success(), || of(&ask, format!("what is left is answered with {}", answer.status)))?;
        }
        for ask in by_each_protocol(good) {
            let refused = bench.send(ask.clone()).await?;
            is_row(&refused, Kind::QuotaExhausted, "", &metadata).map_err(|how| of(&ask, how))?;
            let (policy, left) = (refused.header("ratelimit-policy"), refused.header("ratelimit"));
            let says = |text: Option<&str>, start: String| text.is_some_and(|text| text.starts_with(&start));
            let is_said = says(policy, format!("\"{feature}\";q={included};w="))
                && says(left, format!("\"{feature}\";r={};t=", scarce.metered.spare));
            ensure(is_said, || of(&ask, format!("RateLimit-Policy is {policy:?}, RateLimit {left:?}")))?;
        }
        scarce.give_back(bench).await?;
    }
    Ok(Holds::if_any(asked, "no plan has a hard limit of what a metered route uses"))
}

/// Whether a route with this pattern is the one of `path`.
fn leads_to(pattern: &str, path: &str) -> bool {
    let mut path = path.split('/');
    for segment in pattern.split('/') {
        match path.next() {
            Some(is) if segment.starts_with("{*") => return !is.is_empty(),
            Some(is) if is == segment || (segment.starts_with('{') && !is.is_empty()) => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

async fn no_row(bench: &mut Bench<'_>) -> Found {
    let path = format!("/conformance-{}", uuid::Uuid::new_v4().simple());
    let routes = bench.manifest().routes;
    if routes.iter().any(|route| leads_to(&route.path, &path)) {
        return Ok(Holds::NotHere("a route leads everywhere, and answers for what is not there"));
    }
    let Some(route) = routes.into_iter().next() else {
        return Ok(Holds::NotHere("there are no routes"));
    };
    let asks =
        [Ask::new("GET", &path), Ask::new("POST", &path), Ask::new("OPTIONS", &route.path.replace(['{', '}'], ""))];
    for ask in asks {
        for ask in [ask.clone(), ask.http2()] {
            let answer = bench.send(ask.clone()).await?;
            ensure(answer.problem().is_empty(), || of(&ask, format!("what is not there is {}", answer.problem())))?;
        }
    }
    Ok(Holds::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_routes_by_each_of_its_segments() {
        for (pattern, path, is_its) in [
            ("/{*path}", "/conformance-1", true),
            ("/{*path}", "/a/b", true),
            ("/{id}", "/conformance-1", true),
            ("/{id}", "/a/b", false),
            ("/a/{*path}", "/conformance-1", false),
            ("/a/{*path}", "/a/b/c", true),
            ("/things", "/conformance-1", false),
            ("/", "/conformance-1", false),
        ] {
            assert_eq!(leads_to(pattern, path), is_its, "{pattern} {path}");
        }
    }
}
