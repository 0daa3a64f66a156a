//! Free ports on loopback.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result};

/// Below what systems hand out for port 0, so that no test is given a port that we promised to a backend or sink.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
const TRIES: usize = 200;

/// `N` different ports that nothing listens on.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    // All are held until the last is found, so that none comes twice.
    let held: Vec<(u16, TcpListener)> = (0..TRIES)
        .filter_map(|_| {
            let port = random_port();
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|listener| (port, listener))
        })
        .take(N)
        .collect();
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| Error::new(format!("no free port on 127.0.0.1 after {TRIES} tries in {RANGE:?}")))
}

fn random_port() -> u16 {
    let random = RandomState::new().hash_one(());
    let offset = random % u64::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_none_that_port_0_would_give() {
        let ports = free::<8>().expect("eight free ports");
        let different: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert_eq!(different.len(), ports.len(), "{ports:?}");
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }
}
