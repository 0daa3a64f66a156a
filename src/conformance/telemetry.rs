//! HB-TEL: what arrives at the collector.

use std::collections::BTreeSet;

use halfbyte_core::TenantId;
use halfbyte_core::problem::Kind;
use halfbyte_observe::testing::{Metric, Received, Span};
use http::{HeaderName, Version};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::Ask;
use super::usage::fresh;
use crate::manifest::Route;
use crate::names;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-TEL-001",
        what: "a request is one span of a server, with what the conventions ask for, its refusal and its caller",
        run: |bench| Box::pin(spans(bench)),
    },
    Check {
        clause: "HB-TEL-001",
        what: "http.server.request.duration counts each request once",
        run: |bench| Box::pin(durations(bench)),
    },
    Check {
        clause: "HB-TEL-001",
        what: "a span continues the trace of a peer that is believed, and links to that of another",
        run: |bench| Box::pin(traces(bench)),
    },
    Check {
        clause: "HB-TEL-001",
        what: "metrics and attributes have the names that the contract pins",
        run: |bench| Box::pin(pinned(bench)),
    },
    Check {
        clause: "HB-TEL-002",
        what: "everything that /readyz names is in halfbyte.check.ready",
        run: |bench| Box::pin(checks(bench)),
    },
    Check {
        clause: "HB-TEL-003",
        what: "no query string, credential or secret is in a span, a metric or a log",
        run: |bench| Box::pin(secrecy(bench)),
    },
    Check {
        clause: "HB-TEL-004",
        what: "billing says what waits, what is stranded and what went wrong",
        run: |bench| Box::pin(billing(bench)),
    },
];

/// A request that was made, and what its span must say.
struct Made {
    id: String,
    version: Version,
    status: u16,
    route: Option<Route>,
    refusal: Option<Kind>,
    /// The tenant, and whether it was a person.
    caller: Option<(TenantId, bool)>,
}

async fn make(bench: &mut Bench<'_>, ask: Ask) -> Result<Made, String> {
    let id = fresh();
    let version = ask.version;
    let answer = bench.send(ask.named(&id)).await?;
    Ok(Made { id, version, status: answer.status.as_u16(), route: None, refusal: None, caller: None })
}

/// Good and bad requests of all routes, over both versions of HTTP.
async fn requests(bench: &mut Bench<'_>) -> Result<Vec<Made>, String> {
    let mut all = vec![make(bench, Ask::new("GET", "/.well-known/oauth-protected-resource")).await?];
    for route in bench.http_routes() {
        let tenant = bench.customer().await?;
        let asks = [bench.ask(&route, tenant.as_str()), bench.ask(&route, tenant.as_str()).http2()];
        for ask in asks {
            let made = make(bench, ask.clone()).await?;
            let refusal = (!route.asks.is_public).then_some(Kind::Unauthenticated);
            all.push(Made { route: Some(route.clone()), refusal, ..made });
            let made = make(bench, ask.bearer("not.a.token")).await?;
            all.push(Made { refusal: Some(Kind::InvalidToken), ..made });
        }
        if let Some(good) = bench.good(&route, &tenant).await? {
            let mut asks = vec![good.clone()];
            if !bench.is_once_for_all(&route) {
                asks.push(bench.again(&route, &tenant, &good).await?.http2());
            }
            let caller = (tenant, bench.is_of_user(&route));
            for ask in asks {
                let made = make(bench, ask).await?;
                all.push(Made { route: Some(route.clone()), caller: Some(caller.clone()), ..made });
            }
        }
    }
    Ok(all)
}

async fn spans(bench: &mut Bench<'_>) -> Found {
    let made = requests(bench).await?;
    let ids: Vec<String> = made.iter().map(|made| made.id.clone()).collect();
    for (made, spans) in made.iter().zip(bench.suite.spans_of(&ids).await?) {
        let [span] = &spans[..] else { return Err(format!("one request is {} spans of a server", spans.len())) };
        says(span, made)?;
    }
    Ok(Holds::Yes)
}

fn says(span: &Span, made: &Made) -> Result<(), String> {
    let is = |name: &str, expected: Option<&str>| {
        let got = span.attributes.get(name).map(|value| value.as_str());
        ensure(got == expected, || format!("{name} of {} is {got:?} and not {expected:?}", span.name))
    };
    let there =
        |name: &str| ensure(span.attributes.contains_key(name), || format!("the span {} has no {name}", span.name));
    ["http.request.method", "url.path", "url.scheme", "server.address"].iter().try_for_each(|name| there(name))?;
    is("http.response.status_code", Some(&made.status.to_string()))?;
    is("network.protocol.version", Some(if made.version == Version::HTTP_2 { "2" } else { "1.1" }))?;
    if let Some(route) = &made.route {
        is("http.route", Some(&route.path))?;
        let name = format!("{} {}", route.method, route.path);
        ensure(span.name == name, || format!("the span is called {:?} and not {name:?}", span.name))?;
    }
    is("halfbyte.refusal", made.refusal.map(Kind::slug))?;
    if made.caller.is_some() || made.refusal.is_some() {
        is("halfbyte.tenant", made.caller.as_ref().map(|(tenant, _)| tenant.as_str()))?;
        let kind = |(_, is_user): &(TenantId, bool)| if *is_user { "user" } else { "service" };
        is("halfbyte.principal.kind", made.caller.as_ref().map(kind))?;
    }
    ensure(span.is_error == (made.status >= 500), || format!("{} is an error, or is none", span.name))
}

/// How many requests with this route the product has measured so far.
fn measured(received: &Received, route: &str) -> u64 {
    let metric = received.metrics.iter().rfind(|metric| metric.name == "http.server.request.duration");
    let is_its = |point: &&halfbyte_observe::testing::Point| {
        point.attributes.get("http.route").is_some_and(|value| *value == *route)
    };
    metric.map_or(0, |metric| metric.points.iter().filter(is_its).map(|point| point.count).sum())
}

async fn durations(bench: &mut Bench<'_>) -> Found {
    const REQUESTS: u64 = 12;
    let routes = bench.http_routes();
    let before = bench.suite.received().await?;
    let mut ids = Vec::new();
    for route in &routes {
        for number in 0..REQUESTS {
            let (ask, id) = (bench.ask(route, "nobody"), fresh());
            bench.send(if number % 2 == 0 { ask.named(&id) } else { ask.named(&id).http2() }).await?;
            ids.push(id);
        }
    }
    // A request is measured in the moment in which its line is logged.
    bench.suite.spans_of(&ids).await?;
    let after = bench.suite.received().await?;
    for Route { path, .. } in &routes {
        let expected = REQUESTS * routes.iter().filter(|route| route.path == *path).count() as u64;
        let counted = measured(&after, path) - measured(&before, path);
        ensure(counted == expected, || format!("{expected} requests of {path} were counted as {counted}"))?;
    }
    Ok(Holds::Yes)
}

async fn traces(bench: &mut Bench<'_>) -> Found {
    let (trace, parent) = (uuid::Uuid::new_v4().simple().to_string(), "00f067aa0ba902b7");
    let traceparent = format!("00-{trace}-{parent}-01");
    let ask = || {
        let name = HeaderName::from_static("traceparent");
        Ask::new("GET", "/.well-known/oauth-protected-resource").header(name, &traceparent)
    };
    let id = fresh();
    bench.send(ask().named(&id)).await?;
    for span in bench.suite.spans_of(&[id]).await?.concat() {
        let continues = span.trace_id == trace && span.parent_span_id.as_deref() == Some(parent);
        ensure(continues, || "the trace of a peer that is believed is not continued".to_owned())?;
    }
    let closed = bench.suite.start(&[("HALFBYTE_TRACE_NETWORKS", "none")]).await?;
    let id = fresh();
    let answer = bench.send_to(&closed, ask().named(&id)).await;
    closed.stop().await?;
    answer?;
    for span in bench.suite.spans_of(&[id]).await?.concat() {
        let is_new = span.trace_id != trace && span.parent_span_id.is_none();
        ensure(is_new, || "the trace of a peer that is not believed is continued".to_owned())?;
        let links = span.links.iter().any(|link| link.trace_id == trace && link.span_id == parent);
        ensure(links, || "nothing links to the trace that was not continued".to_owned())?;
    }
    Ok(Holds::Yes)
}

/// Whether the platform has made it, and not the product.
fn is_ours(metric: &Metric) -> bool {
    metric.scope.name.starts_with("halfbyte") || metric.name.starts_with("halfbyte.")
}

async fn pinned(bench: &mut Bench<'_>) -> Found {
    let ids: Vec<String> = requests(bench).await?.into_iter().map(|made| made.id).collect();
    bench.suite.spans_of(&ids).await?;
    let received = bench.suite.received().await?;
    let known = |on: &str| -> BTreeSet<&str> {
        let on = |known: &&(&'static str, &'static str)| known.1.split(',').any(|known| known == on);
        names::ATTRIBUTES.iter().filter(on).map(|(name, _)| *name).collect()
    };
    let (of_spans, of_metrics, of_all) = (known("span"), known("metric"), known("resource"));
    let mut unknown = BTreeSet::new();
    let mut there = BTreeSet::new();
    for span in received.spans.iter().filter(|span| span.kind == "server") {
        there.extend(span.attributes.keys().map(String::as_str).filter(|name| of_spans.contains(name)));
        let others = span.attributes.keys().filter(|name| !of_spans.contains(name.as_str()));
        unknown.extend(others.map(|name| format!("attribute {name} of a span")));
    }
    for metric in received.metrics.iter().filter(|metric| is_ours(metric)) {
        let is_known =
            names::METRICS.contains(&(&metric.name, if metric.unit.is_empty() { "-" } else { &metric.unit }));
        unknown.extend((!is_known).then(|| format!("metric {} in {:?}", metric.name, metric.unit)));
        let of_points = metric.points.iter().flat_map(|point| point.attributes.keys());
        let others = of_points.filter(|name| !of_metrics.contains(name.as_str()));
        unknown.extend(others.map(|name| format!("attribute {name} of {}", metric.name)));
    }
    ensure(unknown.is_empty(), || format!("the contract does not know {}", Vec::from_iter(unknown).join(", ")))?;
    let resource = received.spans.first().map(|span| &span.resource);
    let missing: Vec<_> =
        of_all.into_iter().filter(|name| resource.is_none_or(|resource| !resource.contains_key(*name))).collect();
    ensure(missing.is_empty(), || format!("telemetry does not say {missing:?}"))?;
    ensure(there.contains("http.route"), || "no span says its route".to_owned())?;
    Ok(Holds::Yes)
}

async fn checks(bench: &mut Bench<'_>) -> Found {
    let answer = bench.admin(bench.product, "/readyz").await?.json()?;
    let named: Vec<&str> =
        answer["checks"].as_array().into_iter().flatten().filter_map(|check| check["name"].as_str()).collect();
    ensure(!named.is_empty(), || "/readyz names nothing".to_owned())?;
    let received = bench.suite.received().await?;
    for name in ["halfbyte.check.ready", "halfbyte.check.age"] {
        let metric = received.metrics.iter().rfind(|metric| metric.name == name);
        let metric = metric.ok_or_else(|| format!("there is no {name}"))?;
        ensure(metric.kind == "gauge", || format!("{name} is a {} and no gauge", metric.kind))?;
        let has = |part: &&&str| metric.point(&[("halfbyte.check.name", part)]).is_some();
        let missing: Vec<_> = named.iter().filter(|part| !has(part)).collect();
        // Not everything has an age.
        let is_whole = missing.is_empty() || (name.ends_with(".age") && missing.len() < named.len());
        ensure(is_whole, || format!("{name} does not say how {missing:?} is"))?;
    }
    Ok(Holds::Yes)
}

async fn secrecy(bench: &mut Bench<'_>) -> Found {
    let marker = format!("query{}", uuid::Uuid::new_v4().simple());
    bench.suite.witness.credential("a query string", &marker);
    let witness = &bench.suite.witness;
    let mut ids = Vec::new();
    let keys = bench.product.platform.identity().api_keys().cloned();
    let routes: Vec<_> = bench.manifest().routes.into_iter().filter(|route| bench.ends(route)).collect();
    for route in routes {
        let tenant = bench.customer().await?;
        let mut asks =
            vec![bench.ask(&route, tenant.as_str()), bench.ask(&route, tenant.as_str()).bearer("not.a.token")];
        asks.extend(bench.good(&route, &tenant).await?);
        if let Some(keys) = &keys {
            use secrecy::ExposeSecret as _;
            let spec = halfbyte_identity::ApiKeySpec::new(tenant.clone());
            let made = keys.create(spec.scopes(route.asks.scopes.iter().cloned())).await;
            let (_, secret) = made.map_err(|error| halfbyte_core::error_chain(&error).to_string())?;
            witness.credential("an API key", secret.expose_secret());
            asks.push(bench.ask(&route, tenant.as_str()).bearer(secret.expose_secret()));
        }
        for mut ask in asks {
            ask.path = format!("{}?conformance={marker}", ask.path);
            let id = fresh();
            bench.send(ask.named(&id)).await?;
            ids.push(id);
        }
    }
    bench.suite.spans_of(&ids).await?;
    shows_nothing(bench, &bench.suite.received().await?)?;
    Ok(Holds::Yes)
}

/// Whether nothing that must not be seen is in a signal.
pub(super) fn shows_nothing(bench: &Bench<'_>, received: &Received) -> Result<(), String> {
    let found = |what: &str, text: String| {
        let found = bench.suite.witness.find(&text);
        ensure(found.is_none(), || format!("{} is in {what}", found.unwrap_or_default()))
    };
    received.spans.iter().try_for_each(|span| found(&format!("the span {}", span.name), format!("{span:?}")))?;
    received.logs.iter().try_for_each(|log| found(&format!("a log of {}", log.target), format!("{log:?}")))?;
    received.metrics.iter().try_for_each(|metric| found(&format!("the metric {}", metric.name), format!("{metric:?}")))
}

async fn billing(bench: &mut Bench<'_>) -> Found {
    let received = bench.suite.received().await?;
    for (name, kind) in [
        ("halfbyte.billing.backlog", "gauge"),
        ("halfbyte.billing.stranded", "gauge"),
        ("halfbyte.billing.reclaimed", "sum"),
        ("halfbyte.billing.overage", "sum"),
        ("halfbyte.billing.conflicts", "sum"),
        ("halfbyte.billing.late", "sum"),
        ("halfbyte.billing.refused", "sum"),
    ] {
        let metric = received.metrics.iter().rfind(|metric| metric.name == name);
        let metric = metric.ok_or_else(|| format!("there is no {name}"))?;
        let is_so = metric.kind == kind && metric.is_monotonic == (kind == "sum") && !metric.points.is_empty();
        ensure(is_so, || format!("{name} is a {} with {} series", metric.kind, metric.points.len()))?;
    }
    Ok(Holds::Yes)
}
