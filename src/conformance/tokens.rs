//! HB-AUTH-001 to 005: what is a credential, and which tokens are good.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::problem::Kind;
use halfbyte_identity::jose::Algorithm;
use halfbyte_identity::testing::{Persona, attack};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::service_fn;

use super::bench::{Bench, name_of};
use super::check::{Check, Found, Holds, NO_ROUTE, ensure};
use super::client::{Answer, Ask};
use super::refusals::{by_each_protocol, is_row, metadata, of};
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-001",
        what: "the case of the scheme does not matter",
        run: |bench| Box::pin(scheme(bench)),
    },
    Check {
        clause: "HB-AUTH-001",
        what: "two headers, and one that is not of the form, are a bad credential, and another scheme is none",
        run: |bench| Box::pin(forms(bench)),
    },
    Check {
        clause: "HB-AUTH-002",
        what: "a public route lets who has no credentials through, and nobody with a bad one",
        run: |bench| Box::pin(public(bench)),
    },
    Check {
        clause: "HB-AUTH-003",
        what: "no guarded route takes a forged token, nor tells how it was known",
        run: |bench| Box::pin(guarded_under_attack(bench)),
    },
    Check {
        clause: "HB-AUTH-003",
        what: "no public route takes a forged token",
        run: |bench| Box::pin(public_under_attack(bench)),
    },
    Check {
        clause: "HB-AUTH-003",
        what: "a token by each of the algorithms is taken",
        run: |bench| Box::pin(algorithms(bench)),
    },
    Check {
        clause: "HB-AUTH-004",
        what: "a token that is not for this product, not for now, or of another kind is refused",
        run: |bench| Box::pin(bad_claims(bench)),
    },
    Check {
        clause: "HB-AUTH-004",
        what: "a good token is taken also where clocks differ, and with several audiences",
        run: |bench| Box::pin(good_claims(bench)),
    },
    Check {
        clause: "HB-AUTH-005",
        what: "the tenant is the claim of that name, and one without it is nobody else's",
        run: |bench| Box::pin(tenants(bench)),
    },
    Check {
        clause: "HB-AUTH-005",
        what: "scopes are the claim scope, in any order and among others",
        run: |bench| Box::pin(scopes(bench)),
    },
];

/// Whether the credential of `ask` was taken, whatever came of the request else.
pub(super) fn is_taken(ask: &Ask, answer: &Answer) -> Result<(), String> {
    let refused = ["unauthenticated", "invalid-token", "unavailable", "internal", "overloaded", "deadline-exceeded"];
    let problem = answer.problem();
    let is_by_status = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
    let is_refused = refused.contains(&&*problem) || is_by_status;
    let how = || format!("a good credential is refused: {} {problem} {}", answer.status, answer.detail());
    ensure(!is_refused, || of(ask, how()))
}

/// One route, a guarded one if there is one.
pub(super) fn any_route(bench: &Bench<'_>) -> Result<Route, String> {
    let guarded = bench
        .routes(false)
        .into_iter()
        .filter(|route| bench.sample(route).is_some())
        .max_by_key(|route| route.asks.scopes.is_empty());
    let any = guarded.or_else(|| bench.manifest().routes.into_iter().next());
    any.ok_or_else(|| "the product has no route".to_owned())
}

/// Sends `ask` and finds its credential refused as a bad one.
pub(super) async fn is_bad(bench: &mut Bench<'_>, ask: Ask) -> Result<(), String> {
    let metadata = metadata(bench);
    let answer = bench.send(ask.clone()).await?;
    is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&ask, how))
}

async fn scheme(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let routes = bench.answering();
    for route in &routes {
        let token = bench.token(&bench.persona(route, &tenant));
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            let ask = bench.ask(route, tenant.as_str()).header(AUTHORIZATION, &format!("{scheme} {token}"));
            for ask in [ask.clone(), ask.http2()] {
                let answer = bench.send(ask.clone()).await?;
                is_taken(&ask, &answer)?;
            }
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn forms(bench: &mut Bench<'_>) -> Found {
    let (tenant, metadata) = (bench.customer().await?, metadata(bench));
    let routes = bench.answering();
    for route in &routes {
        let token = bench.token(&bench.persona(route, &tenant));
        let (bearer, ask) = (format!("Bearer {token}"), bench.ask(route, tenant.as_str()));
        let bad = [
            vec![bearer.clone(), bearer.clone()],
            vec![bearer.clone(), "Basic YW5uOmFubg==".into()],
            vec!["Bearer".into()],
            vec![format!("{bearer} {token}")],
            vec![format!("{bearer}, {bearer}")],
            vec![format!("Bearer \"{token}\"")],
        ];
        for headers in bad {
            let ask = headers.iter().fold(ask.clone(), |ask, header| ask.header(AUTHORIZATION, header));
            for ask in by_each_protocol(ask) {
                is_bad(bench, ask).await?;
            }
        }
        for none in ["Basic YW5uOmFubg==".to_owned(), format!("Token {token}"), format!("Bearer2 {token}")] {
            let ask = ask.clone().header(AUTHORIZATION, &none);
            let answer = bench.send(ask.clone()).await?;
            if route.asks.is_public {
                is_taken(&ask, &answer)?;
            } else {
                is_row(&answer, Kind::Unauthenticated, "", &metadata).map_err(|how| of(&ask, how))?;
            }
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn public(bench: &mut Bench<'_>) -> Found {
    let (routes, tenant) = (bench.routes(true), bench.customer().await?);
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is public"));
    }
    // What hangs or panics answers nobody; that it lets nobody in with a bad one can be seen all the same.
    let open: Vec<_> = bench.open().iter().map(name_of).collect();
    for route in routes {
        let ask = bench.ask(&route, tenant.as_str());
        let token = bench.token(&bench.persona(&route, &tenant));
        let good = [ask.clone(), ask.clone().bearer(&token)].into_iter().filter(|_| open.contains(&name_of(&route)));
        for ask in good {
            for ask in [ask.clone(), ask.http2()] {
                let answer = bench.send(ask.clone()).await?;
                is_taken(&ask, &answer)?;
            }
        }
        for ask in by_each_protocol(ask.bearer("a.b.c")) {
            is_bad(bench, ask).await?;
        }
    }
    Ok(Holds::if_any(open.len(), "all public routes hang or panic"))
}

/// Whether these headers are more of a head than is read at all (HB-REQ-006).
fn is_too_large(headers: &HeaderMap) -> bool {
    headers.values().map(|value| value.len()).sum::<usize>() > 64 * 1024
}

/// All attacks on the route of `ask`, with what came of them.
async fn attacked(bench: &mut Bench<'_>, ask: &Ask, persona: &Persona) -> attack::Report {
    let (to, version) = (bench.product.address, ask.version);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keep = sent.clone();
    let service = service_fn(move |request: Request<Bytes>| {
        let keep = keep.clone();
        async move {
            let (head, body) = request.into_parts();
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            let mut ask = Ask::new(head.method.as_str(), path);
            (ask.headers, ask.body) = (head.headers, body.to_vec());
            // Over HTTP/1 one that is too large is answered.
            ask.version = if is_too_large(&ask.headers) { ask.version } else { version };
            let answer = ask.send(to).await;
            keep.lock().unwrap_or_else(PoisonError::into_inner).push((ask, answer.clone()));
            let Answer { status, headers, body, .. } = answer?;
            let mut response = Response::new(Full::new(body));
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            Ok::<_, String>(response)
        }
    });
    let request = || {
        let mut request = Request::new(Bytes::from(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.path.parse().unwrap_or_default();
        *request.headers_mut() = ask.headers.clone();
        request
    };
    let report = attack::run(service, request, &bench.suite.issuer, bench.audience(), persona).await;
    let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
    sent.iter().for_each(|(ask, answer)| bench.keep(ask, answer));
    report
}

async fn guarded_under_attack(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let routes: Vec<_> = bench.answering().into_iter().filter(|route| !route.asks.is_public).collect();
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is guarded"));
    }
    for (number, route) in routes.iter().enumerate() {
        let persona = bench.persona(route, &tenant);
        let ask = bench.ask(route, tenant.as_str());
        // What is outside of routes is the same for all: gRPC need not be asked at each.
        let in_grpc = (number == 0).then(|| ask.clone().with_content_type("application/grpc"));
        for ask in [Some(ask), in_grpc].into_iter().flatten() {
            let report = attacked(bench, &ask, &persona).await;
            ensure(report.attacks() > 200, || format!("there are {} attacks", report.attacks()))?;
            let attacks = attack::corpus(&bench.suite.issuer, bench.audience(), &persona);
            let is_unread = |finding: &&attack::Finding| {
                finding.fault == attack::Fault::WrongStatus(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
                    && attacks.iter().any(|attack| attack.name() == finding.attack && is_too_large(attack.headers()))
            };
            let found: Vec<_> =
                report.findings().iter().filter(|finding| !is_unread(finding)).map(ToString::to_string).collect();
            ensure(found.is_empty(), || of(&ask, found.join("; ")))?;
        }
    }
    Ok(Holds::Yes)
}

async fn public_under_attack(bench: &mut Bench<'_>) -> Found {
    let (routes, tenant) = (bench.routes(true), bench.customer().await?);
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is public"));
    }
    let to = bench.product.address;
    let open: Vec<_> = bench.open().iter().map(name_of).collect();
    for route in routes {
        let persona = bench.persona(&route, &tenant);
        let attacks = attack::corpus(&bench.suite.issuer, bench.audience(), &persona);
        // What is no credential goes to the handler, which may not answer at all.
        let is_open = open.contains(&name_of(&route));
        let attacks =
            attacks.into_iter().filter(|attack| is_open || !attack.expected().contains(&Kind::Unauthenticated));
        let asks = attacks.map(|attack| {
            let mut ask = bench.ask(&route, tenant.as_str());
            attack.headers().keys().for_each(|name| drop(ask.headers.remove(name)));
            ask.headers.extend(attack.headers().clone());
            (attack, ask)
        });
        let answers = stream::iter(asks).map(async |(attack, ask)| {
            let answer = ask.send(to).await;
            (attack, ask, answer)
        });
        let answers: Vec<_> = answers.buffered(8).collect().await;
        for (attack, ask, answer) in answers {
            bench.keep(&ask, &answer);
            let answer = answer?;
            // What is no credential is let through here.
            let may_pass = attack.expected().contains(&Kind::Unauthenticated);
            let is_refused = answer.problem() == Kind::InvalidToken.slug();
            let was_let_in = is_taken(&ask, &answer).is_ok();
            let how = || of(&ask, format!("{}: {} {}", attack.name(), answer.status, answer.problem()));
            let is_unread =
                is_too_large(attack.headers()) && answer.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            ensure(is_refused || is_unread || (may_pass && was_let_in), how)?;
        }
    }
    Ok(Holds::Yes)
}

async fn algorithms(bench: &mut Bench<'_>) -> Found {
    let issuer = super::product::issuer().await?;
    let product = bench.suite.start(&[("HALFBYTE_IDENTITY_URL", &issuer.config_url())]).await?;
    let (route, tenant) = (any_route(bench)?, bench.customer().await?);
    let names = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];
    let tokens: Vec<_> = names
        .map(|name| {
            Algorithm::from_name(name).into_iter().for_each(|algorithm| issuer.algorithm(algorithm));
            (name, issuer.token(&bench.persona(&route, &tenant), bench.audience()))
        })
        .into();
    for (name, token) in tokens {
        let ask = bench.ask(&route, tenant.as_str()).bearer(&token);
        let answer = bench.send_to(&product, ask.clone()).await?;
        is_taken(&ask, &answer).map_err(|how| format!("{name}: {how}"))?;
    }
    product.stop().await.map(|()| Holds::Yes)
}

/// The claims of `token`.
pub(super) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
}

fn now() -> i64 {
    halfbyte_core::Clock::system().now().as_second()
}

fn without(object: &mut Value, members: &[&str]) {
    object.as_object_mut().into_iter().for_each(|object| object.retain(|name, _| !members.contains(&&**name)));
}

/// Whether `token` is refused as a bad one.
async fn refused(bench: &mut Bench<'_>, ask: &Ask, token: &str) -> Result<(), String> {
    is_bad(bench, ask.clone().bearer(token)).await.map_err(|how| format!("{}: {how}", claims_of(token)))
}

/// A good token, but for what `change` does to its header and claims.
fn changed(bench: &Bench<'_>, persona: &Persona, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let issuer = &bench.suite.issuer;
    let mut header: Value = serde_json::from_str(&issuer.header()).unwrap_or_default();
    let mut claims = claims_of(&bench.token(persona));
    change(&mut header, &mut claims);
    issuer.sign(&header.to_string(), &claims.to_string())
}

async fn bad_claims(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let (issuer, audience) = (bench.suite.issuer.id().to_owned(), bench.audience().to_owned());
    // Each is made when it is sent: what is a minute from now is not in a minute.
    let table: [(&str, &(dyn Fn(i64) -> Value + Sync)); 16] = [
        ("exp", &|now| json!(now - 60)),
        ("exp", &|_| Value::Null),
        ("exp", &|now| json!((now + 600).to_string())),
        ("nbf", &|now| json!(now + 120)),
        ("iat", &|now| json!(now + 120)),
        ("iat", &|_| json!("now")),
        ("iss", &|_| json!(format!("{issuer}/"))),
        ("iss", &|_| json!(issuer.to_uppercase())),
        ("aud", &|_| json!(format!("{audience}2"))),
        ("aud", &|_| json!(["another", "one more"])),
        ("aud", &|_| json!([])),
        ("nonce", &|_| json!("n-1")),
        ("at_hash", &|_| json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("c_hash", &|_| json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("s_hash", &|_| json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("events", &|_| json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
    ];
    let routes = bench.manifest().routes;
    for route in &routes {
        let (persona, ask) = (bench.persona(route, &tenant), bench.ask(route, tenant.as_str()));
        for (claim, value) in table {
            let token = changed(bench, &persona, |_, claims| claims[claim] = value(now()));
            refused(bench, &ask, &token).await?;
        }
        for claim in ["exp", "aud"] {
            let token = changed(bench, &persona, |_, claims| without(claims, &[claim]));
            refused(bench, &ask, &token).await?;
        }
        for kind in ["logout+jwt", "dpop+jwt", "rt+jwt", "secevent+jwt"] {
            let token = changed(bench, &persona, |header, _| header["typ"] = json!(kind));
            refused(bench, &ask, &token).await?;
        }
        let token = changed(bench, &persona, |header, claims| {
            header["typ"] = json!("JWT");
            without(claims, &["scope", "client_id"]);
        });
        refused(bench, &ask, &token).await?;
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

/// Does something to the header and the claims of a token.
type Change<'c> = dyn Fn(&mut Value, &mut Value) + Sync + 'c;

async fn good_claims(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let audience = bench.audience().to_owned();
    let set = |name: &'static str, value: fn(i64) -> Value| {
        move |_: &mut Value, claims: &mut Value| claims[name] = value(now())
    };
    let typ = |typ: Option<&'static str>| {
        move |header: &mut Value, _: &mut Value| match typ {
            Some(typ) => header["typ"] = json!(typ),
            None => without(header, &["typ"]),
        }
    };
    let changes: [&Change<'_>; 7] = [
        &set("exp", |now| json!(now - 5)),
        &set("nbf", |now| json!(now + 20)),
        &set("iat", |now| json!(now + 20)),
        &|_, claims| claims["aud"] = json!(["another", audience]),
        &typ(Some("JWT")),
        &typ(None),
        &typ(Some("application/at+jwt")),
    ];
    let routes = bench.answering();
    for route in &routes {
        let (persona, ask) = (bench.persona(route, &tenant), bench.ask(route, tenant.as_str()));
        for change in changes {
            // When it is sent: clocks may differ by no more than 30 seconds.
            let token = changed(bench, &persona, change);
            let ask = ask.clone().bearer(&token);
            let answer = bench.send(ask.clone()).await?;
            is_taken(&ask, &answer).map_err(|how| format!("{}: {how}", claims_of(&token)))?;
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn tenants(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let routes: Vec<_> = bench.answering().into_iter().filter(|route| route.asks.tenant_in_path.is_some()).collect();
    let mut asked = 0;
    for route in &routes {
        let (persona, ask) = (bench.persona(route, &tenant), bench.ask(route, tenant.as_str()));
        // Policies let him have what is there.
        let ours = match bench.good(route, &tenant).await? {
            Some(good) => good,
            None if route.asks.action.is_none() => ask.clone().bearer(&bench.token(&persona)),
            None => continue,
        };
        asked += 1;
        let answer = bench.send(ours.clone()).await?;
        ensure(answer.problem() != "forbidden", || of(&ours, "the claim tenant does not say whose it is".into()))?;
        let nobodys = changed(bench, &persona, |_, claims| without(claims, &["tenant"]));
        for also in ["org", "tid", "tenant_id"] {
            let other = changed(bench, &persona, |_, claims| {
                without(claims, &["tenant"]);
                claims[also] = json!(tenant.as_str());
            });
            for token in [&nobodys, &other] {
                let ask = ask.clone().bearer(token);
                let answer = bench.send(ask.clone()).await?;
                is_row(&answer, Kind::Forbidden, "", "").map_err(|how| of(&ask, how))?;
            }
        }
    }
    Ok(Holds::if_any(asked, "no route has the tenant in its path, or none of them a sample"))
}

async fn scopes(bench: &mut Bench<'_>) -> Found {
    let tenant = bench.customer().await?;
    let routes: Vec<_> = bench.answering().into_iter().filter(|route| !route.asks.scopes.is_empty()).collect();
    for route in &routes {
        let (persona, ask) = (bench.persona(route, &tenant), bench.ask(route, tenant.as_str()));
        let asked: Vec<_> = route.asks.scopes.iter().map(String::as_str).collect();
        let among_others: Vec<_> =
            ["conformance:first"].into_iter().chain(asked.iter().rev().copied()).chain(["last"]).collect();
        for scopes in [asked, among_others] {
            let ask = ask.clone().bearer(&bench.token(&persona.clone().scopes(scopes.iter().copied())));
            let answer = bench.send(ask.clone()).await?;
            is_taken(&ask, &answer)?;
            ensure(answer.problem() != "insufficient-scope", || of(&ask, format!("{scopes:?} are not seen")))?;
        }
    }
    Ok(if routes.is_empty() { Holds::NotHere("no route asks for scopes") } else { Holds::Yes })
}
