//! What goes wrong in the shop, and how it is told.

use crate::{Outcome, Scene, check, heading};

pub async fn panic(scene: &Scene<'_>) -> Outcome {
    heading("A panic is one event");
    let answer = scene.shop.get("/panic").await;
    println!("GET /panic → {}", answer.err().map_or("an answer", |_| "the connection is closed"));
    scene.flush().await?;

    let server = scene.collector.spans().named("GET /panic");
    let of_trace = scene.collector.spans().filtered(|span| span.trace_id == server.trace_id);
    for span in &of_trace {
        println!("span  {:16} {}", span.name, if span.is_error { "Error" } else { "" });
        for event in &span.events {
            println!("      {}: {}", event.name, event.attributes["exception.message"].as_str());
            let trace = event.attributes["exception.stacktrace"].as_str();
            let own = trace.lines().filter(|line| line.contains("check_paper")).map(str::trim).next();
            println!("      {} lines of backtrace, such as {}", trace.lines().count(), own.unwrap_or("none"));
        }
    }
    let events = of_trace.iter().flat_map(|span| &span.events).filter(|event| event.name == "exception").count();
    let log = scene.collector.logs().find(|log| log.event_name == "exception");
    println!("log   {} {} {}", log.severity, log.target, log.body);
    check(events == 1 && log.trace_id == Some(server.trace_id), "it is not told once in its trace")?;
    check(server.is_error && server.attributes["error.type"] == "panic", "the request did not fail")
}

pub async fn unsampled(scene: &Scene<'_>) -> Outcome {
    heading("Two traces that the caller did not sample: one went well, one erred");
    let well = "0af7651916cd43dd8448eb211c80319c";
    let erred = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (trace, path) in [(well, "/browse"), (erred, "/fail")] {
        let parent = format!("00-{trace}-00f067aa0ba902b7-00");
        let request = scene.shop.http.get(format!("{}{path}", scene.shop.url)).header("traceparent", &parent);
        println!("GET {path:8} traceparent: {parent} → {}", request.send().await?.status().as_u16());
    }
    scene.flush().await?;

    let of = |trace| scene.collector.spans().filtered(|span| span.trace_id == trace);
    println!("{well}: {} spans", of(well).len());
    println!("{erred}: {} spans, {}", of(erred).len(), of(erred).names().join(" and "));
    let kept = scene.telemetry.kept();
    println!("{} spans were kept, {} forgotten, {} are held", kept.kept, kept.discarded, kept.held);
    check(of(well).is_empty() && of(erred).len() == 2, "the wrong one was kept")?;
    check(of(erred).iter().all(|span| span.flags & 1 == 0), "it says that it was sampled")
}
