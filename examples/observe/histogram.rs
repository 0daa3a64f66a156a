//! How long requests took, as one picture, and a trace for each part of it.

use std::collections::HashSet;

use tokio::task::JoinSet;

use crate::{Outcome, Scene, check, heading};

const REQUESTS: u64 = 90;

pub async fn show(scene: &Scene<'_>) -> Outcome {
    heading(&format!("{REQUESTS} requests as a histogram, with a trace for each bar"));
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        // Most are quick, and a few are not.
        let millis = 3 + number.pow(6) / 2_500_000_000;
        requests.spawn(scene.shop.http.get(format!("{}/wait/{millis}", scene.shop.url)).send());
    }
    while let Some(response) = requests.join_next().await {
        response??.error_for_status()?;
    }
    scene.flush().await?;

    let metric = scene.collector.metric("http.server.request.duration").ok_or("there is no histogram")?;
    let series = metric.point(&[("http.route", "/wait/{millis}")]).ok_or("there is no series of the route")?;
    println!("{} in {}, {}\n", metric.name, metric.unit, metric.temporality);
    let most = series.buckets.iter().copied().max().unwrap_or(0).max(1);
    let mut traces = Vec::new();
    for (bucket, count) in series.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        let below = bucket.checked_sub(1).map_or(0.0, |before| series.bounds[before]);
        let up_to = series.bounds.get(bucket).copied().unwrap_or(f64::INFINITY);
        let inside = |seconds: f64| below < seconds && seconds <= up_to;
        let exemplar = series.exemplars.iter().find(|exemplar| exemplar.value.as_str().parse().is_ok_and(inside));
        let trace = exemplar.and_then(|exemplar| exemplar.trace_id.clone());
        let bar = "█".repeat((count * 30 / most).max(1) as usize);
        let example = trace.as_deref().map(|trace| format!("such as {trace}")).unwrap_or_default();
        println!("{:>5} ms {bar:30} {count:>3}  {example}", up_to * 1e3);
        traces.extend(trace);
    }
    check(series.count == REQUESTS, "requests are missing from it")?;
    check(traces.len() > 1, "there are no exemplars")?;
    let there: HashSet<_> = scene.collector.spans().into_iter().map(|span| span.trace_id).collect();
    check(traces.iter().all(|trace| there.contains(trace)), "an exemplar is of a trace that is not there")
}
