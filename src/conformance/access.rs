//! HB-AUTH-015 and HB-ACC: what comes before what, and whose things are whose.

use halfbyte_billing::{Operation, Standing};
use halfbyte_core::error_chain;
use halfbyte_core::problem::Kind;
use http::HeaderName;
use jiff::SignedDuration;

use super::bench::{Bench, fresh, of_thing, thing_of};
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask};
use super::provoke::operate;
use super::refusals::{by_each_protocol, of};
use crate::manifest::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-AUTH-015",
        what: "a principal is asked for first, then scopes, then a role or the tenant, then the sign-in",
        run: |bench| Box::pin(order(bench)),
    },
    Check {
        clause: "HB-ACC-001",
        what: "policies are asked after what is asked of the caller, and before what the plan has",
        run: |bench| Box::pin(policies_in_order(bench)),
    },
    Check { clause: "HB-ACC-001", what: "a denial does not say what denies", run: |bench| Box::pin(same_words(bench)) },
    Check {
        clause: "HB-ACC-002",
        what: "what is of another tenant is refused as what is not there, to the byte",
        run: |bench| Box::pin(not_there(bench)),
    },
    Check {
        clause: "HB-ACC-003",
        what: "nobody does anything to what is of another tenant",
        run: |bench| Box::pin(isolation(bench)),
    },
    Check {
        clause: "HB-ACC-003",
        what: "a suspended tenant may do no more than read, from at once until it is resumed",
        run: |bench| Box::pin(suspended(bench)),
    },
    Check {
        clause: "HB-ACC-003",
        what: "who is past due, or has no account, is not suspended",
        run: |bench| Box::pin(not_suspended(bench)),
    },
];

async fn order(bench: &mut Bench<'_>) -> Found {
    let (tenant, another) = (bench.customer().await?, bench.customer().await?);
    let mut is_here = false;
    for route in bench.answering().into_iter().filter(|route| !route.asks.is_public) {
        let asks = &route.asks;
        let has_second = !asks.roles.is_empty() || asks.tenant_in_path.is_some();
        let has_third = !asks.acr.is_empty() || asks.max_age_seconds.is_some();
        let long_ago = asks.max_age_seconds.map(|_| SignedDuration::from_hours(24 * 365));
        // Everything is wrong, and then one thing less each time.
        let weak = bench.persona_signed_in(&route, &tenant, long_ago).acr("conformance-weak");
        let wrong = weak.clone().roles([]);
        let nothing = wrong.clone().scopes([]);
        let (theirs, ours) = (bench.ask(&route, another.as_str()), bench.ask(&route, tenant.as_str()));
        let with = |ask: &Ask, persona| ask.clone().bearer(&bench.token(persona));
        let steps = [
            (true, theirs.clone(), Kind::Unauthenticated),
            (!asks.scopes.is_empty(), with(&theirs, &nothing), Kind::InsufficientScope),
            (has_second, with(&theirs, &wrong), Kind::Forbidden),
            (has_third, with(&ours, &weak), Kind::StepUpRequired),
        ];
        is_here |= steps.iter().filter(|(is_asked, ..)| *is_asked).count() > 2;
        for (_, ask, kind) in steps.into_iter().filter(|(is_asked, ..)| *is_asked) {
            for ask in by_each_protocol(ask) {
                let answer = bench.send(ask.clone()).await?;
                is_kind(&ask, &answer, kind)?;
            }
        }
    }
    Ok(if is_here { Holds::Yes } else { Holds::NotHere("no route asks for several things") })
}

fn is_kind(ask: &Ask, answer: &Answer, kind: Kind) -> Result<(), String> {
    let problem = answer.problem();
    ensure(problem == kind.slug(), || of(ask, format!("refused with {problem:?} and not {}", kind.slug())))
}

/// The routes that ask policies for a thing that is named in the request.
fn about_things(bench: &Bench<'_>) -> Vec<Route> {
    let route_has_thing = |route: &Route| of_thing(route, bench.ask(route, "nobody"), "x").is_some();
    bench.answering().into_iter().filter(route_has_thing).collect()
}

async fn policies_in_order(bench: &mut Bench<'_>) -> Found {
    let (routes, tenant) = (about_things(bench), bench.customer().await?);
    let without_plan = bench.customer().await?;
    let ended = bench.product.platform.billing().customers().end(&without_plan).await;
    ended.map_err(|error| error_chain(&error).to_string())?;
    let mut asked = 0;
    for route in &routes {
        let ask = bench.ask(route, tenant.as_str());
        let scopeless = ask.clone().bearer(&bench.token(&bench.persona(route, &tenant).scopes([])));
        if !route.asks.scopes.is_empty() {
            let answer = bench.send(scopeless.clone()).await?;
            is_kind(&scopeless, &answer, Kind::InsufficientScope)?;
            asked += 1;
        }
        // Who has no plan either is told of the policies.
        let ask = bench.ask(route, without_plan.as_str()).bearer(&bench.token(&bench.persona(route, &without_plan)));
        let answer = bench.send(ask.clone()).await?;
        is_kind(&ask, &answer, Kind::Forbidden)?;
        asked += usize::from(route.asks.feature.is_some());
    }
    // Who may not, and has nothing in his plan either.
    for route in
        bench.answering().into_iter().filter(|route| route.asks.action.is_some() && route.asks.feature.is_some())
    {
        asked += usize::from(operate_on_new(bench, &route).await?);
    }
    Ok(Holds::if_any(asked, "no route with a sample asks policies for what scopes or the plan are asked for too"))
}

/// A suspended tenant is told that it may not before it is told what its plan has, where it does more than read. Whether that was asked.
async fn operate_on_new(bench: &mut Bench<'_>, route: &Route) -> Result<bool, String> {
    if bench.suite.conformance.plan.is_none() || bench.reads(route) {
        return Ok(false);
    }
    let tenant = bench.customer().await?;
    let Some(good) = bench.good(route, &tenant).await? else { return Ok(false) };
    operate(bench, &tenant, Operation::Pause).await?;
    let answer = bench.send(good.clone()).await?;
    is_kind(&good, &answer, Kind::Forbidden)?;
    Ok(true)
}

async fn same_words(bench: &mut Bench<'_>) -> Found {
    const WORDS: &str = "the policies of this service do not permit it";
    let tenant = bench.customer().await?;
    // Who lacks a role that the route asks for is told of that before.
    let routes: Vec<_> = about_things(bench).into_iter().filter(|route| route.asks.roles.is_empty()).collect();
    for route in &routes {
        for persona in [bench.persona(route, &tenant), bench.persona(route, &tenant).roles([])] {
            let ask = bench.ask(route, tenant.as_str()).bearer(&bench.token(&persona));
            for ask in by_each_protocol(ask) {
                let answer = bench.send(ask.clone()).await?;
                is_kind(&ask, &answer, Kind::Forbidden)?;
                let detail = answer.detail();
                ensure(detail == WORDS, || of(&ask, format!("the detail is {detail:?}")))?;
            }
        }
    }
    Ok(Holds::if_any(routes.len(), "no route asks policies for a thing, and for no role before"))
}

/// For each route about things: it, a good request by one customer, and the same by another one's customer who may do everything to his own.
async fn strangers(bench: &mut Bench<'_>) -> Result<Vec<(Route, Ask, Ask)>, String> {
    let (owner, stranger) = (bench.customer().await?, bench.customer().await?);
    let mut found = Vec::new();
    for route in about_things(bench) {
        let Some(good) = bench.good(&route, &owner).await? else { continue };
        let token = bench.token(&bench.persona(&route, &stranger));
        // Where the tenant stands in the path it is his own: only the thing is not.
        let theirs = bench.ask(&route, stranger.as_str()).bearer(&token);
        let theirs = thing_of(&route, &good).and_then(|name| of_thing(&route, theirs, &name));
        found.extend(theirs.map(|theirs| (route, good, theirs)));
    }
    Ok(found)
}

const NO_MAKER: Found = Ok(Holds::NotHere("no sample says how a thing is made that a route is about"));

async fn not_there(bench: &mut Bench<'_>) -> Found {
    let strangers = strangers(bench).await?;
    if strangers.is_empty() {
        return NO_MAKER;
    }
    for (route, _, theirs) in strangers {
        // As long as the other, so that even lengths are alike.
        let length = thing_of(&route, &theirs).map_or(0, |name| name.len());
        let Some(nothing) = of_thing(&route, theirs.clone(), &"0".repeat(length)) else { continue };
        for (theirs, nothing) in by_each_protocol(theirs).into_iter().zip(by_each_protocol(nothing)) {
            let (one, other) = (said(bench, &theirs).await?, said(bench, &nothing).await?);
            ensure(one == other, || {
                of(&theirs, format!("of {}: {one:#?} and where nothing is {other:#?}", route.path))
            })?;
        }
    }
    Ok(Holds::Yes)
}

/// All that a client sees but the date, with the ids of the request given.
async fn said(bench: &mut Bench<'_>, ask: &Ask) -> Result<(u16, Vec<(String, String)>, String), String> {
    let ask = ask.clone().header(HeaderName::from_static("x-request-id"), "conformance-1");
    let ask =
        ask.header(HeaderName::from_static("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let answer = bench.send(ask).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    Ok((answer.status.as_u16(), headers, text(&answer.body)))
}

async fn isolation(bench: &mut Bench<'_>) -> Found {
    let strangers = strangers(bench).await?;
    if strangers.is_empty() {
        return NO_MAKER;
    }
    for (_, good, theirs) in strangers {
        for ask in by_each_protocol(theirs) {
            let answer = bench.send(ask.clone()).await?;
            is_kind(&ask, &answer, Kind::Forbidden)?;
        }
        // It is there, and its owner may: or the refusal would say nothing.
        let answer = bench.send(good.clone()).await?;
        ensure(answer.is_success(), || of(&good, format!("its owner is answered with {}", answer.status)))?;
    }
    Ok(Holds::Yes)
}

/// A customer's good requests for each route that asks policies.
async fn asking_policies(bench: &mut Bench<'_>) -> Result<(halfbyte_core::TenantId, Vec<(Route, Ask)>), String> {
    let tenant = bench.customer().await?;
    let mut found = Vec::new();
    for route in bench.answering().into_iter().filter(|route| route.asks.action.is_some()) {
        if let Some(ask) = bench.good(&route, &tenant).await? {
            found.push((route, ask));
        }
    }
    Ok((tenant, found))
}

async fn suspended(bench: &mut Bench<'_>) -> Found {
    if bench.suite.conformance.plan.is_none() {
        return Ok(Holds::NotHere("the product has no plan that could be paused"));
    }
    let (tenant, asks) = asking_policies(bench).await?;
    operate(bench, &tenant, Operation::Pause).await?;
    let mut refused = Vec::new();
    for (route, ask) in asks {
        let answer = bench.send(ask.clone()).await?;
        let problem = answer.problem();
        // Which actions only read, the product says: what asks for a feature is never had, whatever it does.
        let is_in_order = match &*problem {
            "forbidden" => true,
            "not-entitled" => route.asks.feature.is_some(),
            _ => answer.is_success() && route.asks.feature.is_none(),
        };
        ensure(is_in_order, || of(&ask, format!("a suspended tenant is answered with {} {problem}", answer.status)))?;
        let may_read = bench.reads(&route) || problem == "forbidden";
        ensure(may_read, || of(&ask, format!("a suspended tenant may write: {} {problem}", answer.status)))?;
        if problem == "forbidden" {
            refused.push(ask);
        }
    }
    if refused.is_empty() {
        return Ok(Holds::NotHere("no sample of a route that asks policies does more than read"));
    }
    operate(bench, &tenant, Operation::Resume).await?;
    for ask in refused {
        let answer = bench.send(ask.clone()).await?;
        ensure(answer.problem() != "forbidden", || of(&ask, "still suspended after it was resumed".to_owned()))?;
    }
    Ok(Holds::Yes)
}

async fn not_suspended(bench: &mut Bench<'_>) -> Found {
    let (tenant, asks) = asking_policies(bench).await?;
    if asks.is_empty() {
        return Ok(Holds::NotHere("no sample is of a route that asks policies"));
    }
    operate(bench, &tenant, Operation::SetStanding { standing: Standing::PastDue }).await?;
    for (_, ask) in asks {
        let answer = bench.send(ask.clone()).await?;
        ensure(answer.problem() != "forbidden", || of(&ask, "who is past due is suspended".to_owned()))?;
    }
    let nobody = halfbyte_core::TenantId::new(fresh());
    let nobody = nobody.map_err(|error| error.to_string())?;
    for route in
        bench.answering().into_iter().filter(|route| route.asks.action.is_some() && route.asks.resource.is_none())
    {
        let Some(_) = bench.sample(&route) else { continue };
        let ask = bench.ask(&route, nobody.as_str()).bearer(&bench.token(&bench.persona(&route, &nobody)));
        let answer = bench.send(ask.clone()).await?;
        ensure(answer.problem() != "forbidden", || of(&ask, "who has no account is suspended".to_owned()))?;
    }
    Ok(Holds::Yes)
}
