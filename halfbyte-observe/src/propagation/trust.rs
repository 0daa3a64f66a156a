use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Whose word on traces is taken: the networks from which a `traceparent`, a `tracestate` and `baggage` are believed.
/// From anywhere else a request starts a trace of its own, with a link to the one that it says it belongs to.
///
/// Nobody is believed by default: whoever is can make this process sample what it would not, and file requests under
/// traces that are not theirs. The peer is the address at the other end of the connection, and never one of a header.
/// IPv4 addresses that are mapped into IPv6 (`::ffff:10.0.0.1`) count as IPv4, in a peer as in a network.
///
/// ```
/// use halfbyte_observe::TraceTrust;
///
/// let trust = TraceTrust::networks(["10.0.0.0/8".parse()?, "fd00::/8".parse()?]);
/// assert!(trust.believes(Some("10.1.2.3".parse().unwrap())));
/// assert!(trust.believes(Some("::ffff:10.1.2.3".parse().unwrap())));
/// assert!(!trust.believes(Some("192.0.2.1".parse().unwrap())));
/// assert!(!trust.believes(None));
/// # Ok::<(), ipnet::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceTrust(Trusted);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Trusted {
    #[default]
    Nobody,
    Networks(Arc<[IpNet]>),
    Everybody,
}

impl TraceTrust {
    /// Believes nobody, which is the default.
    pub const fn nobody() -> Self {
        Self(Trusted::Nobody)
    }

    /// Believes peers in any of these networks.
    pub fn networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(Trusted::Networks(networks.into_iter().map(canonical).collect()))
    }

    /// Believes whoever connects, and also where it is not known who that is: for a process that only a trusted network
    /// can reach.
    pub const fn danger_everybody() -> Self {
        Self(Trusted::Everybody)
    }

    /// Whether the trace context and the baggage of this peer are taken over. One whose address is not known is believed
    /// only if everybody is.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        match (&self.0, peer) {
            (Trusted::Everybody, _) => true,
            (Trusted::Nobody, _) | (Trusted::Networks(_), None) => false,
            (Trusted::Networks(networks), Some(peer)) => {
                let peer = peer.to_canonical();
                networks.iter().any(|network| network.contains(&peer))
            }
        }
    }
}

/// A network of mapped addresses is the IPv4 network that it maps.
pub(crate) fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Some(address) = v6.network().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, length)
    {
        return v4.into();
    }
    network
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_peers_of_the_networks_are_believed() {
        for (networks, peer, believed) in [
            (&["10.0.0.0/8"][..], "10.255.0.1", true),
            (&["10.0.0.0/8"], "11.0.0.1", false),
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", true),
            (&["10.0.0.0/8"], "::ffff:11.0.0.1", false),
            (&["10.0.0.0/8"], "::10.0.0.1", false),
            (&["::ffff:10.0.0.0/104"], "10.0.0.1", true),
            (&["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", true),
            (&["::ffff:10.0.0.0/104"], "11.0.0.1", false),
            (&["::ffff:0:0/96"], "192.0.2.1", true),
            (&["::ffff:0:0/96"], "2001:db8::1", false),
            (&["0.0.0.0/0"], "192.0.2.1", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["::/0"], "2001:db8::1", true),
            (&["::/0"], "192.0.2.1", false),
            (&["fd00::/8", "127.0.0.1/32"], "fd12::1", true),
            (&["fd00::/8", "127.0.0.1/32"], "127.0.0.1", true),
            (&["fd00::/8", "127.0.0.1/32"], "127.0.0.2", false),
            (&[], "127.0.0.1", false),
        ] {
            let trust = TraceTrust::networks(networks.iter().map(|network| network.parse().unwrap()));
            assert_eq!(trust.believes(Some(peer.parse().unwrap())), believed, "{peer} by {networks:?}");
            assert!(!trust.believes(None));
        }
    }

    #[test]
    fn nobody_is_the_default_and_everybody_includes_who_is_not_known() {
        let peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(TraceTrust::default(), TraceTrust::nobody());
        assert!(!TraceTrust::nobody().believes(peer) && !TraceTrust::nobody().believes(None));
        assert!(TraceTrust::danger_everybody().believes(peer) && TraceTrust::danger_everybody().believes(None));
    }
}
