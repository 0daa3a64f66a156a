//! What the collector was told, held against what was asked.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halfbyte::observe::testing::{Metric, Received, Receiver, Span};

use crate::load::Product;

/// Every request's spans, and each process's count of them.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// The first half of the name of every trace of this run.
    run: u64,
    read: (usize, usize),
    /// By number of the request, for each product, the server spans of it.
    requests: HashMap<u64, [Vec<u64>; 2]>,
    /// When each of these began, by the product's clock, in nanoseconds since 1970.
    begun: HashMap<(u64, Product), u64>,
    /// By process (service and instance): how many measurements of the duration of requests it has reported.
    processes: BTreeMap<(String, String), u64>,
    /// Server spans of all requests so far, those that products made of each other among them.
    pub spans: u64,
    /// Spans that arrived more than once, as they do when a collector took them and could not say so.
    pub again: u64,
}

/// How requests are told of: each must be, by one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub once: u64,
    pub never: u64,
    pub twice: u64,
}

impl Telemetry {
    pub fn new(run: u64) -> Self {
        Self { run, ..Self::default() }
    }

    /// Reads what has come since it last did.
    pub async fn read(&mut self, collector: &Receiver) {
        let done = collector.wait_for(|received| self.take(received), Duration::from_secs(1)).await;
        debug_assert!(done, "it is there at once");
    }

    fn take(&mut self, received: &Received) -> bool {
        for span in &received.spans[self.read.0..] {
            self.take_span(span);
        }
        for metric in &received.metrics[self.read.1..] {
            self.take_metric(metric);
        }
        self.read = (received.spans.len(), received.metrics.len());
        true
    }

    /// Makes the collector forget what was read. Between the two something may come, so nothing may be asked meanwhile.
    pub async fn forget(&mut self, collector: &Receiver) {
        self.read(collector).await;
        collector.clear();
        self.read = (0, 0);
        self.requests.clear();
        self.begun.clear();
    }

    fn take_span(&mut self, span: &Span) {
        let product = Product::ALL.into_iter().find(|product| product.name() == span.service);
        let (Some(product), "server") = (product, span.kind) else { return };
        let half = |range| span.trace_id.get(range).and_then(|text| u64::from_str_radix(text, 16).ok());
        let (Some(run), Some(number)) = (half(0..16), half(16..32)) else { return };
        let Ok(id) = u64::from_str_radix(&span.span_id, 16) else { return };
        if run != self.run {
            return;
        }
        let spans = &mut self.requests.entry(number).or_default()[product as usize];
        if spans.contains(&id) {
            self.again += 1;
        } else {
            spans.push(id);
            self.spans += 1;
            self.begun.insert((number, product), span.start_nanos);
        }
    }

    fn take_metric(&mut self, metric: &Metric) {
        if metric.name != "http.server.request.duration" {
            return;
        }
        let instance = metric.resource.get("service.instance.id").map(|id| id.as_str().to_owned()).unwrap_or_default();
        let count = self.processes.entry((metric.service.clone(), instance)).or_default();
        // It only grows; what waited on a disk may come after what is newer.
        *count = (*count).max(metric.count());
    }

    /// How these requests were told of by the product that each was for.
    pub fn told(&self, requests: impl Iterator<Item = (u64, Product)>) -> Told {
        let mut told = Told::default();
        for (number, product) in requests {
            match self.requests.get(&number).map_or(0, |spans| spans[product as usize].len()) {
                0 => told.never += 1,
                1 => told.once += 1,
                _ => told.twice += 1,
            }
        }
        told
    }

    /// By how many seconds a product's clock was off while it was asked these, by ours: the middle one of all.
    pub fn skew(&self, product: Product, asked: &[(u64, SystemTime)]) -> Option<i64> {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let mut skews: Vec<i64> = asked
            .iter()
            .filter_map(|(number, sent)| {
                let begun = UNIX_EPOCH + Duration::from_nanos(*self.begun.get(&(*number, product))?);
                Some(match begun.duration_since(*sent) {
                    Ok(ahead) => seconds(ahead),
                    Err(behind) => -seconds(behind.duration()),
                })
            })
            .collect();
        skews.sort_unstable();
        skews.get(skews.len() / 2).copied()
    }

    /// How many requests the metrics say that there were; as many as there are spans.
    pub fn measured(&self) -> u64 {
        self.processes.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_a_clock_is_off_is_told_by_what_began_when() {
        use Product::{Clinic, Parcel};
        let mut telemetry = Telemetry::default();
        let sent = UNIX_EPOCH + Duration::from_secs(1_000);
        for (number, seconds) in [(1, 700), (2, 699), (3, 1_000)] {
            telemetry.begun.insert((number, Parcel), seconds * 1_000_000_000);
        }
        let asked = [1, 2, 3, 4].map(|number| (number, sent));
        assert_eq!(telemetry.skew(Parcel, &asked), Some(-300), "one may have been answered by another clock");
        assert_eq!(telemetry.skew(Parcel, &asked[2..]), Some(0));
        assert_eq!(telemetry.skew(Clinic, &asked), None, "nothing is known of it");
    }
}
