//! The trace and the baggage that a request comes with, from whom they are believed.

use std::net::IpAddr;

use ipnet::IpNet;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};

use crate::propagation::Carried;
use crate::{Propagators, TraceTrust};

/// What a request starts in.
pub(super) struct Inbound {
    /// The baggage.
    pub(super) around: Context,
    /// The parent, where it is believed.
    pub(super) remote: Option<SpanContext>,
    /// What it says it belongs to, where it is not believed.
    pub(super) linked: Option<SpanContext>,
}

impl Inbound {
    pub(super) fn of(
        carried: &Carried<'_>,
        peer: Option<IpAddr>,
        trust: &TraceTrust,
        propagators: &Propagators,
    ) -> Self {
        let remote = propagators.extract(carried);
        if !trust.believes(peer) {
            return Self { around: Context::new(), remote: None, linked: remote };
        }
        let baggage = propagators.extract_baggage(carried);
        let around = if baggage.is_empty() { Context::new() } else { Context::new().with_baggage(baggage) };
        Self { around, remote, linked: None }
    }

    /// As it is where no span of ours is.
    pub(super) fn into_parent(self) -> Context {
        match self.remote {
            Some(remote) => self.around.with_remote_span_context(remote),
            None => self.around,
        }
    }
}

pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}
