use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use super::fault::Fault;
use super::{Log, Metric, Span};
use crate::Signal;

/// What a [`Receiver`](super::Receiver) has received so far, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Spans.
    pub spans: Vec<Span>,
    /// Metrics: each once for every time that they were sent, with the points of that time.
    pub metrics: Vec<Metric>,
    /// The names of metrics, each once.
    pub metric_names: Vec<String>,
    /// Log records.
    pub logs: Vec<Log>,
    /// All requests, also those of which nothing was kept.
    pub requests: Vec<Arrival>,
    /// How many of the spans had arrived before.
    pub duplicate_spans: usize,
    /// How many requests of which something was kept had the same content as one before them.
    pub duplicate_requests: usize,
    seen: Seen,
}

/// What tells that something has been here before.
#[derive(Clone, Debug, Default)]
struct Seen {
    spans: HashSet<(String, String)>,
    requests: HashSet<u64>,
    hasher: RandomState,
}

/// A request that a [`Receiver`](super::Receiver) has read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Arrival {
    /// What it brought; `None` when the path is not one of OTLP.
    pub signal: Option<Signal>,
    /// Whether it came over gRPC.
    pub is_grpc: bool,
    /// Where it was addressed to.
    pub path: String,
    /// Its headers, in lower case; the values of one that is there more than once are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The length of its body, as it was sent.
    pub body_len: usize,
    /// How many spans, log records or metrics it brought; 0 when it could not be read.
    pub items: usize,
    /// How many of them were kept.
    pub kept: usize,
    /// What went wrong with it.
    pub fault: Option<Fault>,
}

/// What one request brought.
pub(super) enum Items {
    Spans(Vec<Span>),
    Metrics(Vec<Metric>),
    Logs(Vec<Log>),
}

impl Items {
    pub(super) fn len(&self) -> usize {
        match self {
            Items::Spans(spans) => spans.len(),
            Items::Metrics(metrics) => metrics.len(),
            Items::Logs(logs) => logs.len(),
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Items::Spans(spans) => spans.truncate(len),
            Items::Metrics(metrics) => metrics.truncate(len),
            Items::Logs(logs) => logs.truncate(len),
        }
    }
}

impl Received {
    /// Takes note of a request, and keeps what is left of its items.
    pub(super) fn take(&mut self, arrival: Arrival, items: Option<Items>, message: &[u8]) {
        if arrival.kept > 0 && !self.seen.requests.insert(self.seen.hasher.hash_one((arrival.signal, message))) {
            self.duplicate_requests += 1;
        }
        self.requests.push(arrival);
        match items {
            Some(Items::Spans(spans)) => {
                for span in &spans {
                    let new = self.seen.spans.insert((span.trace_id.clone(), span.span_id.clone()));
                    self.duplicate_spans += usize::from(!new);
                }
                self.spans.extend(spans);
            }
            Some(Items::Metrics(metrics)) => {
                for metric in metrics {
                    if !self.metric_names.contains(&metric.name) {
                        self.metric_names.push(metric.name.clone());
                    }
                    self.metrics.push(metric);
                }
            }
            Some(Items::Logs(logs)) => self.logs.extend(logs),
            None => {}
        }
    }
}
