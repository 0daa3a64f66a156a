use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use http::uri::Authority;
use opentelemetry::StringValue;

use crate::conventions::clipped;
use crate::metrics::hash_of_bytes;

const SLOTS: usize = 256;

/// Longer ones are not kept, so that what is kept has a bound.
const LONGEST: usize = 512;

/// After so many that found their place taken, all begin anew: what is asked for now may be others than then.
const MISSES: usize = 16 * SLOTS;

/// What was made lately of texts that clients send over and over, such as `User-Agent`.
pub(super) struct Recent(ArcSwap<Generation>);

/// All that was kept since the last new beginning; reading it takes no lock and counts no references.
pub(super) struct Generation {
    hosts: Kept<Option<Host>>,
    agents: Kept<Option<StringValue>>,
    addresses: Kept<StringValue>,
    tenants: Kept<StringValue>,
    misses: AtomicUsize,
}

/// `server.address` and `server.port`
pub(super) type Host = (StringValue, Option<u16>);

impl Recent {
    pub(super) fn new() -> Self {
        Self(ArcSwap::from_pointee(Generation::new()))
    }

    pub(super) fn load(&self) -> Guard<Arc<Generation>> {
        let generation = self.0.load();
        if generation.misses.load(Ordering::Relaxed) < MISSES {
            return generation;
        }
        self.0.store(Arc::new(Generation::new()));
        self.0.load()
    }
}

impl Generation {
    fn new() -> Self {
        let misses = AtomicUsize::new(0);
        Self { hosts: Kept::new(), agents: Kept::new(), addresses: Kept::new(), tenants: Kept::new(), misses }
    }

    /// The host that the client asked for, without a user name or password.
    pub(super) fn host(&self, authority: &[u8]) -> Cow<'_, Option<Host>> {
        self.hosts.get(authority, &self.misses, || {
            let authority = Authority::try_from(authority).ok()?;
            let host = authority.host();
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let bare = clipped(bare);
            (!bare.is_empty()).then(|| (lasting(bare), authority.port_u16()))
        })
    }

    /// `user_agent.original`, if it is a text.
    pub(super) fn agent(&self, agent: &HeaderValue) -> Cow<'_, Option<StringValue>> {
        self.agents.get(agent.as_bytes(), &self.misses, || agent.to_str().ok().map(|agent| lasting(clipped(agent))))
    }

    pub(super) fn address(&self, address: IpAddr) -> Cow<'_, StringValue> {
        let text = || lasting(&address.to_string());
        match address {
            IpAddr::V4(four) => self.addresses.get(&four.octets(), &self.misses, text),
            IpAddr::V6(six) => self.addresses.get(&six.octets(), &self.misses, text),
        }
    }

    pub(super) fn tenant(&self, tenant: &str) -> Cow<'_, StringValue> {
        self.tenants.get(tenant.as_bytes(), &self.misses, || lasting(tenant))
    }
}

/// How many bytes of such texts are leaked in a process. What comes later is shared, and those who share a text all write to
/// its count of references.
const ALLOWANCE: usize = 256 << 10;

/// A value that is cheap to clone.
fn lasting(text: &str) -> StringValue {
    static LEFT: AtomicUsize = AtomicUsize::new(ALLOWANCE);
    let take = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(text.len()));
    if take.is_ok() { StringValue::from(&*text.to_owned().leak()) } else { Arc::<str>::from(text).into() }
}

/// A place for each hash, in which the first one stands.
struct Kept<V>(Box<[OnceLock<Box<Entry<V>>>]>);

struct Entry<V> {
    raw: Box<[u8]>,
    value: V,
}

impl<V: Clone> Kept<V> {
    fn new() -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(SLOTS).collect())
    }

    /// What `make` made of `raw`, perhaps earlier.
    fn get(&self, raw: &[u8], misses: &AtomicUsize, make: impl FnOnce() -> V) -> Cow<'_, V> {
        if raw.len() > LONGEST {
            return Cow::Owned(make());
        }
        let slot = &self.0[(hash_of_bytes(raw) >> 32) as usize % SLOTS];
        match slot.get() {
            Some(known) if *known.raw == *raw => Cow::Borrowed(&known.value),
            Some(_) => {
                misses.fetch_add(1, Ordering::Relaxed);
                Cow::Owned(make())
            }
            None => {
                let value = make();
                let _or_another_was_faster = slot.set(Box::new(Entry { raw: raw.into(), value: value.clone() }));
                Cow::Owned(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_not_made_again_and_never_mistaken_for_something_else() {
        let (kept, misses) = (Kept::new(), AtomicUsize::new(0));
        let made = std::cell::Cell::new(0);
        let ask = |text: &str| {
            kept.get(text.as_bytes(), &misses, || {
                made.set(made.get() + 1);
                text.to_owned()
            })
        };
        assert_eq!((&*ask("curl/8"), &*ask("curl/8"), made.get()), (&"curl/8".to_owned(), &"curl/8".to_owned(), 1));
        for n in 0..1_000 {
            assert_eq!(*ask(&n.to_string()), n.to_string());
        }
        assert!(misses.into_inner() >= 1_000 - SLOTS);
        let long = "x".repeat(LONGEST + 1);
        let (kept, misses) = (Kept::new(), AtomicUsize::new(0));
        assert_eq!(*kept.get(long.as_bytes(), &misses, || 1), 1);
        assert_eq!(*kept.get(long.as_bytes(), &misses, || 2), 2, "it was not kept");
    }

    #[test]
    fn after_many_misses_others_are_kept() {
        let recent = Recent::new();
        let before = Arc::as_ptr(&recent.load());
        for n in 0..u32::try_from(MISSES + SLOTS).unwrap() {
            let address = IpAddr::from(n.to_be_bytes());
            assert_eq!(recent.load().address(address).as_str(), address.to_string());
        }
        assert_ne!(Arc::as_ptr(&recent.load()), before);
    }

    #[test]
    fn a_host_is_taken_out_of_what_stands_around_it() {
        let recent = Recent::new();
        for (authority, expected) in [
            ("shop.example", Some(("shop.example", None))),
            ("shop.example:8443", Some(("shop.example", Some(8443)))),
            ("me:s3cret@shop.example", Some(("shop.example", None))),
            ("[2001:db8::1]:80", Some(("2001:db8::1", Some(80)))),
            ("192.0.2.1", Some(("192.0.2.1", None))),
            ("no host", None),
            ("", None),
        ] {
            for _ in 0..2 {
                let recent = recent.load();
                let host = recent.host(authority.as_bytes());
                assert_eq!((*host).as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{authority}");
            }
        }
    }
}
