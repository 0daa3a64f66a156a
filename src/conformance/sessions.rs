//! HB-AUTH-013, 014 and 016: credentials that end before they expire.

use halfbyte_core::problem::Kind;
use halfbyte_identity::testing::{Outage, Persona};
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::bench::{Bench, fresh};
use super::check::{Check, Found, Holds, NO_ROUTE, ensure};
use super::client::{Ask, PATIENCE};
use super::product;
use super::refusals::{by_each_protocol, is_row, of};
use super::sample::Does;
use super::tokens::{any_route, claims_of, is_bad, is_taken};
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-013",
        what: "a revoked token, session or subject is refused from the next request on, seen before or not",
        run: |bench| Box::pin(revoked(bench)),
    },
    Check {
        clause: "HB-AUTH-013",
        what: "all that an issuer issued up to a time can be revoked",
        run: |bench| Box::pin(issued_up_to(bench)),
    },
    Check {
        clause: "HB-AUTH-014",
        what: "a logout token ends the session that it names, or all of its subject",
        run: |bench| Box::pin(logout(bench)),
    },
    Check {
        clause: "HB-AUTH-014",
        what: "a bad logout token ends nothing and is answered with invalid_request",
        run: |bench| Box::pin(bad_logout(bench)),
    },
    Check {
        clause: "HB-AUTH-016",
        what: "a stream that is tied to its caller breaks off when the credential is revoked",
        run: |bench| Box::pin(tied(bench)),
    },
];

/// Somebody else who may call `route`, with a session.
async fn somebody(bench: &Bench<'_>, route: &Route, subject: &str, session: &str) -> Result<Persona, String> {
    let tenant = bench.customer().await?;
    Ok(bench.persona(route, &tenant).claim("sub", subject).session(session))
}

/// A request with this token, which is taken.
async fn taken(bench: &mut Bench<'_>, route: &Route, token: &str) -> Result<Ask, String> {
    let ask = bench.ask(route, "nobody").bearer(token);
    let answer = bench.send(ask.clone()).await?;
    is_taken(&ask, &answer)?;
    Ok(ask)
}

async fn revoked(bench: &mut Bench<'_>) -> Found {
    let issuer = bench.suite.issuer.id().to_owned();
    let routes = bench.answering();
    for route in &routes {
        for what in ["token", "session", "subject"] {
            let (subject, session) = (fresh(), fresh());
            let persona = somebody(bench, route, &subject, &session).await?;
            let (token, unseen, another) = (bench.token(&persona), bench.token(&persona), {
                let another = persona.clone().claim("sub", fresh()).session(&fresh());
                bench.token(&another)
            });
            let ask = taken(bench, route, &token).await?;
            let revocations = bench.product.platform.identity().revocations();
            match what {
                "token" => {
                    let id = claims_of(&token)["jti"].as_str().unwrap_or_default().to_owned();
                    revocations.credential_by_id(&issuer, &id, None);
                }
                "session" => revocations.session(&issuer, &session),
                _ => revocations.subject(&issuer, &subject),
            }
            for ask in [ask.clone(), ask.http2()] {
                is_bad(bench, ask).await.map_err(|how| format!("a revoked {what}: {how}"))?;
            }
            if what == "token" {
                taken(bench, route, &unseen).await?;
            } else {
                is_bad(bench, bench.ask(route, "nobody").bearer(&unseen)).await?;
            }
            taken(bench, route, &another).await?;
        }
    }
    Ok(Holds::if_any(routes.len(), NO_ROUTE))
}

async fn issued_up_to(bench: &mut Bench<'_>) -> Found {
    let issuer = product::issuer().await?;
    let product = bench.suite.start(&[("HALFBYTE_IDENTITY_URL", &issuer.config_url())]).await?;
    let route = any_route(bench)?;
    let persona = somebody(bench, &route, "ann", "one").await?;
    let now = halfbyte_core::Clock::system().now().as_second();
    let issued = |at: i64| {
        let token = issuer.token(&persona.clone().claim("iat", at).claim("nbf", at), bench.audience());
        bench.ask(&route, "nobody").bearer(&token)
    };
    let (before, after) = (issued(now - 60), issued(now + 10));
    for ask in [&before, &after] {
        let answer = bench.send_to(&product, ask.clone()).await?;
        is_taken(ask, &answer)?;
    }
    let until = jiff::Timestamp::from_second(now).map_err(|error| error.to_string())?;
    product.platform.identity().revocations().issued_up_to(issuer.id(), until);
    let answer = bench.send_to(&product, before.clone()).await?;
    let metadata = product.platform.identity().resource_metadata().to_owned();
    is_row(&answer, Kind::InvalidToken, "", &metadata).map_err(|how| of(&before, how))?;
    let answer = bench.send_to(&product, after.clone()).await?;
    is_taken(&after, &answer)?;
    product.stop().await.map(|()| Holds::Yes)
}

const LOGOUT: &str = "/oauth/backchannel-logout";

async fn logout(bench: &mut Bench<'_>) -> Found {
    let (route, audience) = (any_route(bench)?, bench.audience());
    for by_session in [true, false] {
        let (subject, session) = (fresh(), fresh());
        let persona = somebody(bench, &route, &subject, &session).await?;
        let (token, unseen) = (bench.token(&persona), bench.token(&persona));
        let other_session = bench.token(&persona.clone().session(&fresh()));
        let ask = taken(bench, &route, &token).await?;
        let named = (Some(subject.as_str()), by_session.then_some(session.as_str()));
        let logout = bench.suite.issuer.logout_token(named.0, named.1, audience);
        let told = Ask::new("POST", LOGOUT).form(&[("logout_token", &logout)]);
        let answer = bench.send(told.clone()).await?;
        ensure(answer.status == 200, || of(&told, format!("{}", answer.status)))?;
        let caching = answer.header("cache-control");
        ensure(caching == Some("no-store"), || of(&told, format!("cache-control is {caching:?}")))?;
        is_bad(bench, ask).await?;
        is_bad(bench, bench.ask(&route, "nobody").bearer(&unseen)).await?;
        if by_session {
            taken(bench, &route, &other_session).await?;
        } else {
            is_bad(bench, bench.ask(&route, "nobody").bearer(&other_session)).await?;
        }
    }
    Ok(Holds::Yes)
}

async fn bad_logout(bench: &mut Bench<'_>) -> Found {
    let (route, audience) = (any_route(bench)?, bench.audience());
    let (subject, session) = (fresh(), fresh());
    let persona = somebody(bench, &route, &subject, &session).await?;
    let access = bench.token(&persona);
    let issuer = &bench.suite.issuer;
    let good = issuer.logout_token(Some(&subject), Some(&session), audience);
    let header = issuer.header().replace("at+jwt", "logout+jwt");
    let without = |member: &str| {
        let mut claims = claims_of(&good);
        drop(claims.as_object_mut().map(|claims| claims.remove(member)));
        issuer.sign(&header, &claims.to_string())
    };
    let with_nonce = {
        let mut claims = claims_of(&good);
        claims["nonce"] = "n".into();
        issuer.sign(&header, &claims.to_string())
    };
    let forged = format!("{}.{}", good.rsplit_once('.').map_or("", |(signed, _)| signed), "A".repeat(86));
    let bad = [
        ("no token", String::new()),
        ("an access token", access.clone()),
        ("one for another product", issuer.logout_token(Some(&subject), Some(&session), "another-product")),
        ("one of nobody", issuer.logout_token(None, None, audience)),
        ("one without events", without("events")),
        ("one without an id", without("jti")),
        ("one with a nonce", with_nonce),
        ("a forged one", forged),
        ("nonsense", "a.b.c".to_owned()),
    ];
    for (what, token) in bad {
        let ask = Ask::new("POST", LOGOUT).form(&[("logout_token", &token)]);
        let answer = bench.send(ask.clone()).await?;
        let error = answer.json().unwrap_or_default()["error"].clone();
        let is_it = answer.status == 400 && error == "invalid_request";
        ensure(is_it, || of(&ask, format!("{what} is answered with {} {error}", answer.status)))?;
    }
    let ask = Ask::new("GET", LOGOUT);
    let answer = bench.send(ask.clone()).await?;
    ensure(answer.status == 405, || of(&ask, format!("{}", answer.status)))?;
    taken(bench, &route, &access).await?;

    let issuer = product::issuer().await?;
    issuer.outage(Outage::Refuse);
    let product = bench.suite.start(&[("HALFBYTE_IDENTITY_URL", &issuer.config_url())]).await?;
    let token = issuer.logout_token(Some(&subject), None, audience);
    let ask = Ask::new("POST", LOGOUT).form(&[("logout_token", &token)]);
    let answer = bench.send_to(&product, ask.clone()).await?;
    is_row(&answer, Kind::Unavailable, "", "").map_err(|how| of(&ask, how))?;
    product.stop().await.map(|()| Holds::Yes)
}

async fn tied(bench: &mut Bench<'_>) -> Found {
    let streams = |route: &Route| !route.asks.is_public;
    let Some(route) = bench.those(Does::Stream).into_iter().find(streams) else {
        return Ok(Holds::NotHere("no sample of a guarded route streams"));
    };
    for protocol in 0..3 {
        let session = fresh();
        let persona = somebody(bench, &route, &fresh(), &session).await?;
        let ask = bench.ask(&route, "nobody").bearer(&bench.token(&persona));
        let ask = by_each_protocol(ask)[protocol].clone();
        let opened = ask.open(bench.product.address).await;
        let mut response: Response<Incoming> = opened.map_err(|error| of(&ask, error.to_string()))?;
        let first = response.frame().await;
        ensure(matches!(first, Some(Ok(_))), || of(&ask, format!("the stream does not begin: {first:?}")))?;
        bench.product.platform.identity().revocations().session(bench.suite.issuer.id(), &session);
        let mut end = None;
        let ended = timeout(PATIENCE, async {
            loop {
                match response.frame().await {
                    Some(Ok(frame)) if frame.is_trailers() => end = frame.into_trailers().ok(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return true,
                    None => return false,
                }
            }
        });
        let broke_off = ended.await.map_err(|_| of(&ask, "the stream goes on".to_owned()))?;
        if response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/grpc") {
            let status = end.and_then(|trailers| trailers.get("grpc-status").cloned());
            ensure(status.as_ref().is_some_and(|status| status == "16"), || {
                of(&ask, format!("it ends with {status:?}"))
            })?;
        } else {
            ensure(broke_off, || of(&ask, "it ends as if it were whole".to_owned()))?;
        }
    }
    Ok(Holds::Yes)
}
