//! The trace that a request comes with, and from whom it is believed.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;
use opentelemetry::trace::SpanContext;

use super::traceparent;

/// What the request says of the trace it belongs to.
pub(super) fn remote(headers: &HeaderMap) -> Option<SpanContext> {
    traceparent::extract(headers)
}

/// From whom trace context is taken up: it decides which trace a request belongs to and whether it is sampled, so anyone
/// who may set it can fill the backend, or hide.
///
/// It goes by the address at the other end of the connection, [`PeerAddress`](halfbyte_core::PeerAddress): a proxy that
/// is among the networks has to remove what it does not believe itself. From elsewhere a new trace starts, whose span
/// has a link to the context that came in.
#[derive(Clone, Debug, Default)]
pub struct TraceTrust(Trust);

#[derive(Clone, Debug, Default)]
enum Trust {
    #[default]
    Nobody,
    Networks(Arc<[IpNet]>),
    Everybody,
}

impl TraceTrust {
    /// Every request starts a trace.
    pub const fn nobody() -> Self {
        Self(Trust::Nobody)
    }

    /// Peers in one of these networks are believed, such as `10.0.0.0/8`.
    pub fn networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(Trust::Networks(networks.into_iter().collect()))
    }

    /// Whoever sends a request is believed. Right where only your own programs can connect.
    pub const fn danger_everybody() -> Self {
        Self(Trust::Everybody)
    }

    pub(super) fn includes(&self, peer: Option<IpAddr>) -> bool {
        match &self.0 {
            Trust::Nobody => false,
            Trust::Networks(networks) => peer.is_some_and(|peer| contains(networks, peer)),
            Trust::Everybody => true,
        }
    }
}

pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_in_a_network_is_believed() {
        let inside: IpAddr = "10.1.2.3".parse().unwrap();
        let outside: IpAddr = "11.1.2.3".parse().unwrap();
        let networks = TraceTrust::networks(["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (trust, peer, expected) in [
            (&TraceTrust::nobody(), Some(inside), false),
            (&TraceTrust::default(), None, false),
            (&networks, Some(inside), true),
            (&networks, Some(outside), false),
            (&networks, Some("fd00::1".parse().unwrap()), true),
            (&networks, None, false),
            (&TraceTrust::danger_everybody(), Some(outside), true),
            (&TraceTrust::danger_everybody(), None, true),
        ] {
            assert_eq!(trust.includes(peer), expected, "{trust:?} {peer:?}");
        }
    }
}
