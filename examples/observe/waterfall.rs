//! One request's trace, with what was logged in it.

use std::collections::HashMap;
use std::iter::successors;

use halfbyte::observe::testing::{Log, Span};

use crate::{Outcome, Scene, check, heading};

const WIDTH: f64 = 30.0;

pub async fn show(scene: &Scene<'_>) -> Outcome {
    heading("One request, one trace");
    let order = scene.shop.http.post(format!("{}/orders/tea", scene.shop.url)).send().await?;
    let id = order.headers()["x-request-id"].to_str()?.to_owned();
    println!("POST /orders/tea → {}  x-request-id: {id}", order.status().as_u16());
    scene.flush().await?;

    let root = scene.collector.spans().named("POST /orders/{item}");
    let mut spans = scene.collector.spans().filtered(|span| span.trace_id == root.trace_id).to_vec();
    spans.sort_by_key(|span| (span.start_nanos, span.end_nanos));
    let logs = scene.collector.logs().filtered(|log| log.trace_id.as_ref() == Some(&root.trace_id));
    println!("trace {}\n", root.trace_id);
    draw(&root, &spans, &logs);
    println!("\n{:20} {}", "the call was", said(&spans, "GET", &["url.full", "http.response.status_code"])?);
    println!("{:20} {}", "its server saw", said(&spans, "GET /stock/{item}", &["http.route", "client.address"])?);
    let names = spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>();
    let expected =
        ["POST /orders/{item}", "ask the warehouse", "GET", "GET /stock/{item}", "count boxes", "charge the card"];
    check(names == expected, &format!("the trace is another one: {names:?}"))?;
    check(logs.len() == 3, "a log record is missing")
}

/// Spans indented under their parents, with bars for when they ran; logs under their spans, with a dot for when.
fn draw(root: &Span, spans: &[Span], logs: &[Log]) {
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let whole = root.duration().as_secs_f64();
    let column = |nanos: u64| (nanos.saturating_sub(root.start_nanos) as f64 / 1e9 / whole * WIDTH) as usize;
    for span in spans {
        let parent = |span: &&Span| by_id.get(span.parent_span_id.as_deref()?).copied();
        let indent = "  ".repeat(successors(Some(span), parent).count() - 1);
        let (from, to) = (column(span.start_nanos), column(span.end_nanos));
        let bar = format!("{}{}", " ".repeat(from), "▇".repeat((to - from).max(1)));
        let label = format!("{indent}{} ({})", span.name, span.kind);
        println!("{label:36} {bar:32} {:6.1} ms", span.duration().as_secs_f64() * 1e3);
        for log in logs.iter().filter(|log| log.span_id.as_ref() == Some(&span.span_id)) {
            let label = format!("{indent}  · {} {}", log.severity, log.body);
            println!("{label:36} {}·", " ".repeat(column(log.observed_nanos).min(WIDTH as usize)));
        }
    }
}

fn said(spans: &[Span], name: &str, keys: &[&str]) -> Outcome<String> {
    let span = spans.iter().find(|span| span.name == name).ok_or_else(|| format!("there is no span {name}"))?;
    let mut said = Vec::new();
    for key in keys {
        let value = span.attributes.get(*key).ok_or_else(|| format!("{name} does not say {key}"))?;
        said.push(format!("{key}={}", value.as_str()));
    }
    Ok(said.join("  "))
}
