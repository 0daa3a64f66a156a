//! The trace and the baggage that a request comes with, from whom they are believed.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};

use crate::{Propagators, TraceTrust};

/// What a request starts in.
pub(super) struct Inbound {
    pub(super) parent: Context,
    /// Whether the trace that the parent is of goes on without being sampled.
    pub(super) sampled_out: bool,
    /// What it says it belongs to, where it is not believed.
    pub(super) linked: Option<SpanContext>,
}

impl Inbound {
    pub(super) fn of(headers: &HeaderMap, peer: Option<IpAddr>, trust: &TraceTrust, propagators: &Propagators) -> Self {
        let remote = propagators.extract(headers);
        if !trust.believes(peer) {
            return Self { parent: Context::new(), sampled_out: false, linked: remote };
        }
        let sampled_out = remote.as_ref().is_some_and(|remote| !remote.is_sampled());
        let parent = remote.map_or_else(Context::new, |remote| Context::new().with_remote_span_context(remote));
        let baggage = propagators.extract_baggage(headers);
        let parent = if baggage.is_empty() { parent } else { parent.with_baggage(baggage) };
        Self { parent, sampled_out, linked: None }
    }
}

pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}
