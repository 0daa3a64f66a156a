//! HB-LIFE-001, HB-TEL-005 and HB-TEL-006: what the admin listener answers besides health, and the metrics on it.

use std::collections::BTreeSet;

use http::StatusCode;
use http::header::{ACCEPT, ALLOW};

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::{Answer, Ask};
use super::exposition::{self, Page};
use super::refusals::of;
use crate::names;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-LIFE-001",
        what: "/startupz is 200 once it was ready, HEAD is answered like GET, and another path is 404 with those that there are",
        run: |bench| Box::pin(paths(bench)),
    },
    Check {
        clause: "HB-TEL-005",
        what: "the limit of requests at once and who holds a place are gauges",
        run: |bench| Box::pin(load(bench)),
    },
    Check {
        clause: "HB-TEL-006",
        what: "/metrics is a page of Prometheus with the names that the contract pins, and no tenant and no secret in it",
        run: |bench| Box::pin(page(bench)),
    },
    Check {
        clause: "HB-TEL-006",
        what: "/metrics counts each request, and is OpenMetrics for who prefers it",
        run: |bench| Box::pin(scrapes(bench)),
    },
];

const PATHS: [&str; 5] = ["/livez", "/startupz", "/readyz", "/metrics", "/manifest"];

async fn ask(bench: &mut Bench<'_>, ask: &Ask) -> Result<Answer, String> {
    let answer = ask.send(bench.product.admin).await;
    bench.keep(ask, &answer);
    answer
}

async fn paths(bench: &mut Bench<'_>) -> Found {
    let started = bench.admin(bench.product, "/startupz").await?;
    let body = started.json()?;
    let is_started = body["started"] == true && body["waits_for"].as_array().is_some_and(Vec::is_empty);
    ensure(started.status == StatusCode::OK && is_started, || {
        format!("/startupz of a product that is ready is {} {body}", started.status)
    })?;
    for path in PATHS {
        let (head, post) = (Ask::new("HEAD", path), Ask::new("POST", path));
        let answer = ask(bench, &head).await?;
        let is_it = answer.status == StatusCode::OK && answer.body.is_empty();
        ensure(is_it, || of(&head, format!("{} with {} bytes", answer.status, answer.body.len())))?;
        let answer = ask(bench, &post).await?;
        let allowed = answer.header(ALLOW.as_str());
        let is_it = answer.status == StatusCode::METHOD_NOT_ALLOWED && allowed == Some("GET, HEAD");
        ensure(is_it, || of(&post, format!("{} with {allowed:?}", answer.status)))?;
    }
    for path in ["/", "/healthz", "/metrics/", "/debug/pprof"] {
        let answer = bench.admin(bench.product, path).await?;
        ensure(answer.status == StatusCode::NOT_FOUND, || format!("{path} is answered with {}", answer.status))?;
        let body = answer.json()?;
        let told: Vec<&str> = body["paths"].as_array().into_iter().flatten().filter_map(|path| path.as_str()).collect();
        ensure(told == PATHS, || format!("{path} is answered with {body}"))?;
    }
    Ok(Holds::Yes)
}

async fn load(bench: &mut Bench<'_>) -> Found {
    let most = bench.manifest().limits.get("requests_in_flight").copied().unwrap_or_default();
    let received = bench.suite.received().await?;
    let gauge = |name: &str| {
        let metric = received.metrics.iter().rfind(|metric| metric.name == name);
        let metric = metric.ok_or_else(|| format!("there is no {name}"))?;
        ensure(metric.kind == "gauge", || format!("{name} is a {} and no gauge", metric.kind))?;
        Ok::<_, String>(metric)
    };
    let limit = gauge("halfbyte.load_shed.limit")?;
    let values: Vec<f64> =
        limit.points.iter().filter_map(|point| point.value.as_ref()?.as_str().parse().ok()).collect();
    let most = f64::from(u32::try_from(most).unwrap_or(u32::MAX));
    let is_one = values.len() == 1 && values.iter().all(|limit| (16.0..=most).contains(limit));
    ensure(is_one, || format!("halfbyte.load_shed.limit is {values:?}, and {most} are the most"))?;
    let in_flight = gauge("halfbyte.load_shed.in_flight")?;
    for state in ["handling", "streaming"] {
        let point = in_flight.point(&[("halfbyte.load_shed.state", state)]);
        ensure(point.is_some(), || format!("halfbyte.load_shed.in_flight does not say how many are {state}"))?;
    }
    Ok(Holds::Yes)
}

/// The page of metrics as it stands now.
async fn metrics(bench: &mut Bench<'_>) -> Result<(Answer, Page), String> {
    let answer = bench.admin(bench.product, "/metrics").await?;
    ensure(answer.status == StatusCode::OK, || format!("/metrics answers {}", answer.status))?;
    let kind = answer.header("content-type");
    ensure(kind == Some("text/plain; version=0.0.4; charset=utf-8"), || format!("/metrics is {kind:?}"))?;
    let text = std::str::from_utf8(&answer.body).map_err(|error| format!("/metrics is no text: {error}"))?;
    let page = exposition::parse(text).map_err(|how| format!("/metrics is no page of Prometheus: {how}"))?;
    Ok((answer, page))
}

/// A pinned metric as Prometheus calls it: the end of its unit, and `_total` of what only goes up.
fn prometheus(name: &str, unit: &str) -> [String; 2] {
    let unit = if unit == "s" { "_seconds" } else { "" };
    let name = format!("{}{unit}", name.replace('.', "_"));
    [format!("{name}_total"), name]
}

/// What every product measures, whatever it does.
const ALWAYS: [&str; 8] = [
    "http.server.request.duration",
    "http.server.active_requests",
    "halfbyte.billing.backlog",
    "halfbyte.check.age",
    "halfbyte.check.ready",
    "halfbyte.load_shed.in_flight",
    "halfbyte.load_shed.limit",
    "halfbyte.scrape.left_out",
];

async fn page(bench: &mut Bench<'_>) -> Found {
    for route in bench.manifest().routes {
        let tenant = bench.customer().await?;
        bench.send(bench.ask(&route, tenant.as_str())).await?;
        if let Some(good) = bench.good(&route, &tenant).await? {
            bench.send(good).await?;
        }
    }
    let (answer, page) = metrics(bench).await?;
    let text = String::from_utf8_lossy(&answer.body);
    for name in ALWAYS {
        let unit = names::METRICS.iter().find(|(known, _)| *known == name).map_or("-", |(_, unit)| unit);
        let is_there = prometheus(name, unit).iter().any(|name| page.types.contains_key(name));
        ensure(is_there, || format!("/metrics lacks {name}"))?;
    }
    let known: BTreeSet<String> = names::METRICS.iter().flat_map(|(name, unit)| prometheus(name, unit)).collect();
    let of_metrics = names::ATTRIBUTES.iter().filter(|(_, on)| on.split(',').any(|on| on == "metric"));
    let labels: BTreeSet<String> = of_metrics.map(|(name, _)| name.replace('.', "_")).collect();
    for sample in &page.samples {
        let scope = sample.labels.get("otel_scope_name").map_or("", |scope| scope);
        if !scope.starts_with("halfbyte") && !sample.family.starts_with("halfbyte_") {
            continue;
        }
        ensure(known.contains(&sample.family), || format!("the contract does not know {}", sample.family))?;
        let is_of_format = |label: &str| label == "le" || label.starts_with("otel_scope_");
        let other = sample.labels.keys().find(|label| !labels.contains(*label) && !is_of_format(label));
        ensure(other.is_none(), || format!("the contract does not know the label {other:?} of {}", sample.name))?;
    }
    let customers = bench.suite.witness.customers();
    let told = page.samples.iter().find_map(|sample| {
        let is_one = |value: &str| customers.iter().any(|customer| customer.as_str() == value);
        sample.labels.iter().find(|(_, value)| is_one(value)).map(|(label, _)| (&sample.name, label))
    });
    ensure(told.is_none(), || format!("a tenant is in /metrics: {told:?}"))?;
    let leak = bench.suite.witness.find(&text);
    ensure(leak.is_none(), || format!("{} is in /metrics", leak.unwrap_or_default()))?;
    Ok(Holds::Yes)
}

/// How many requests of `path` the page has counted.
fn counted(page: &Page, path: &str) -> f64 {
    let of_path = page.samples.iter().filter(|sample| {
        sample.name == "http_server_request_duration_seconds_count"
            && sample.labels.get("http_route").is_some_and(|route| route == path)
    });
    of_path.map(|sample| sample.value).sum()
}

async fn scrapes(bench: &mut Bench<'_>) -> Found {
    const REQUESTS: u32 = 7;
    let Some(route) = bench.manifest().routes.into_iter().find(|route| bench.ends(route)) else {
        return Ok(Holds::NotHere("there are no routes"));
    };
    let before = counted(&metrics(bench).await?.1, &route.path);
    for _ in 0..REQUESTS {
        bench.send(bench.ask(&route, "nobody")).await?;
    }
    // A request is measured when the last byte of its answer has been sent.
    let mut after = before;
    for _ in 0..100 {
        after = counted(&metrics(bench).await?.1, &route.path);
        if after >= before + f64::from(REQUESTS) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let is_it = (after - before - f64::from(REQUESTS)).abs() < 0.5;
    ensure(is_it, || format!("{REQUESTS} requests of {} are {} on /metrics", route.path, after - before))?;

    let open =
        Ask::new("GET", "/metrics").header(ACCEPT, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let answer = ask(bench, &open).await?;
    let kind = answer.header("content-type");
    let is_open = kind == Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ensure(answer.status == StatusCode::OK && is_open, || of(&open, format!("{} of {kind:?}", answer.status)))?;
    ensure(answer.body.ends_with(b"\n# EOF\n"), || of(&open, "the page does not say that it ends".to_owned()))?;
    Ok(Holds::Yes)
}
