//! One request's trace across both products.

use std::collections::HashMap;
use std::time::Duration;

use halfbyte::observe::testing::{Log, Span};
use serde_json::json;

use crate::Outcome;
use crate::company::Company;
use crate::screen::Screen;

pub async fn show(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "One trace across two products",
        "globex books an appointment with a home kit: Clinic gets a token of its own and orders a label from Parcel.",
    );
    let globex = company.sign_in("globex-desk", "appointments:write").await?;
    let visit = json!({ "patient": "Hank", "at": "2030-01-01T09:00", "home_kit": true });
    let answer = globex.post(&company.clinic.url("/appointments"), "visit", &visit).await?.expect(201)?;
    screen.say(&format!("POST /appointments → 201  label {}", answer.body["label"]));

    // The root is the span that came last, so that all of its trace is there when it is.
    let is_root =
        |span: &Span| span.service == "clinic" && span.name == "POST /appointments" && span.parent_span_id.is_none();
    let key = |spans: &[Span]| {
        spans.iter().filter(|span| is_root(span)).max_by_key(|span| span.start_nanos).map(|span| span.trace_id.clone())
    };
    let arrived = company.collector.wait_for(
        |received| {
            key(&received.spans).is_some_and(|id| {
                let spans = of_trace(&received.spans, &id);
                let logs = logs_of(&received.logs, &id);
                ["clinic", "parcel"].iter().all(|product| {
                    spans.iter().any(|span| span.service == *product) && logs.iter().any(|log| log.service == *product)
                })
            })
        },
        Duration::from_secs(5),
    );
    if !arrived.await {
        return Err("the spans and the logs of both products did not reach the collector".into());
    }
    let spans = company.collector.spans();
    let trace_id = key(&spans).ok_or("the trace is gone")?;
    let mut spans = of_trace(&spans, &trace_id);
    spans.sort_by_key(|span| span.start_nanos);
    waterfall(screen, &spans)?;
    let arrived = company.collector.logs();
    let logs = logs_of(&arrived, &trace_id);
    for log in &logs {
        screen.say(&format!("{:5} {:7} {:24} {}", log.severity, log.service, log.target, log.body));
    }
    screen.seen(&format!("{} spans and {} log lines of two processes in one trace", spans.len(), logs.len()));
    Ok(())
}

fn of_trace(spans: &[Span], trace_id: &str) -> Vec<Span> {
    spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
}

fn logs_of<'a>(logs: &'a [Log], trace_id: &str) -> Vec<&'a Log> {
    logs.iter().filter(|log| log.trace_id.as_deref() == Some(trace_id)).collect()
}

/// Draws each span indented under its parent, with a bar for when it ran.
fn waterfall(screen: &Screen, spans: &[Span]) -> Outcome {
    const WIDTH: f64 = 32.0;
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    let root = spans.iter().find(|span| span.parent_span_id.is_none()).ok_or("the trace has no root")?;
    let whole = root.duration().as_secs_f64();
    for span in spans {
        let ancestors = std::iter::successors(Some(span), |span| by_id.get(span.parent_span_id.as_ref()?).copied());
        let depth = ancestors.count() - 1;
        if depth == 0 && span.span_id != root.span_id {
            return Err(format!("the span {} has no parent in its trace", span.name).into());
        }
        let offset =
            Duration::from_nanos(span.start_nanos.saturating_sub(root.start_nanos)).as_secs_f64() / whole * WIDTH;
        let length = (span.duration().as_secs_f64() / whole * WIDTH).max(1.0);
        let bar = format!("{}{}", " ".repeat(offset as usize), "▇".repeat(length as usize));
        let target = span.attributes.get("url.full").map(|url| format!(" → {url}")).unwrap_or_default();
        let label = format!("{}{} {}{target}", "  ".repeat(depth), span.service, span.name);
        screen.say(&format!("{label:50} {bar:34} {:>8.2} ms", span.duration().as_secs_f64() * 1e3));
    }
    Ok(())
}
