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

/// After so many of a kind that found their place taken, that kind begins anew: what is asked for now may be others than then.
const MISSES: usize = 16 * SLOTS;

/// What was made lately of texts that clients send over and over, such as `User-Agent`.
pub(super) struct Recent(ArcSwap<Generation>);

/// All that was kept since the last new beginning; reading it takes no lock and counts no references.
pub(super) struct Generation {
    hosts: Kept<Option<Host>>,
    agents: Kept<Option<StringValue>>,
    addresses: Kept<StringValue>,
    tenants: Kept<StringValue>,
}

/// `server.address` and `server.port`
pub(super) type Host = (StringValue, Option<u16>);

impl Recent {
    pub(super) fn new() -> Self {
        let (hosts, agents, addresses, tenants) = (Kept::new(), Kept::new(), Kept::new(), Kept::new());
        Self(ArcSwap::from_pointee(Generation { hosts, agents, addresses, tenants }))
    }

    pub(super) fn load(&self) -> Guard<Arc<Generation>> {
        let generation = self.0.load();
        if !generation.is_worn_out() {
            return generation;
        }
        self.renew(&generation);
        self.0.load()
    }

    /// Unless another thread has done so since `seen` was current.
    fn renew(&self, seen: &Arc<Generation>) {
        self.0.compare_and_swap(seen, Arc::new(seen.renewed()));
    }
}

impl Generation {
    fn is_worn_out(&self) -> bool {
        let Self { hosts, agents, addresses, tenants } = self;
        hosts.is_worn_out() || agents.is_worn_out() || addresses.is_worn_out() || tenants.is_worn_out()
    }

    fn renewed(&self) -> Self {
        let Self { hosts, agents, addresses, tenants } = self;
        Self {
            hosts: hosts.renewed(),
            agents: agents.renewed(),
            addresses: addresses.renewed(),
            tenants: tenants.renewed(),
        }
    }

    /// The host that the client asked for, without a user name or password.
    pub(super) fn host(&self, authority: &[u8]) -> Cow<'_, Option<Host>> {
        self.hosts.get(authority, || {
            let authority = Authority::try_from(authority).ok()?;
            let host = authority.host();
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let bare = clipped(bare);
            (!bare.is_empty()).then(|| (shared(bare), authority.port_u16()))
        })
    }

    /// `user_agent.original`, if it is a text.
    pub(super) fn agent(&self, agent: &HeaderValue) -> Cow<'_, Option<StringValue>> {
        self.agents.get(agent.as_bytes(), || agent.to_str().ok().map(|agent| shared(clipped(agent))))
    }

    pub(super) fn address(&self, address: IpAddr) -> Cow<'_, StringValue> {
        let text = || shared(&address.to_string());
        match address {
            IpAddr::V4(four) => self.addresses.get(&four.octets(), text),
            IpAddr::V6(six) => self.addresses.get(&six.octets(), text),
        }
    }

    pub(super) fn tenant(&self, tenant: &str) -> Cow<'_, StringValue> {
        self.tenants.get(tenant.as_bytes(), || shared(tenant))
    }
}

/// A value that is cloned without allocating, and freed when nothing has it any more.
fn shared(text: &str) -> StringValue {
    Arc::<str>::from(text).into()
}

/// A place for each hash, in which the first one stands.
struct Kept<V> {
    slots: Arc<[OnceLock<Box<Entry<V>>>]>,
    misses: AtomicUsize,
}

struct Entry<V> {
    raw: Box<[u8]>,
    value: V,
}

impl<V: Clone> Kept<V> {
    fn new() -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(SLOTS).collect();
        Self { slots, misses: AtomicUsize::new(0) }
    }

    fn is_worn_out(&self) -> bool {
        self.misses.load(Ordering::Relaxed) >= MISSES
    }

    /// The same, or a new one if it is worn out: nobody loses what is kept of one kind by sending too many of another.
    fn renewed(&self) -> Self {
        if self.is_worn_out() {
            return Self::new();
        }
        Self { slots: self.slots.clone(), misses: AtomicUsize::new(self.misses.load(Ordering::Relaxed)) }
    }

    /// What `make` made of `raw`, perhaps earlier.
    fn get(&self, raw: &[u8], make: impl FnOnce() -> V) -> Cow<'_, V> {
        if raw.len() > LONGEST {
            return Cow::Owned(make());
        }
        let slot = &self.slots[(hash_of_bytes(raw) >> 32) as usize % SLOTS];
        match slot.get() {
            Some(known) if *known.raw == *raw => Cow::Borrowed(&known.value),
            Some(_) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
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
        let kept = Kept::new();
        let made = std::cell::Cell::new(0);
        let ask = |text: &str| {
            kept.get(text.as_bytes(), || {
                made.set(made.get() + 1);
                text.to_owned()
            })
        };
        assert_eq!((&*ask("curl/8"), &*ask("curl/8"), made.get()), (&"curl/8".to_owned(), &"curl/8".to_owned(), 1));
        for n in 0..1_000 {
            assert_eq!(*ask(&n.to_string()), n.to_string());
        }
        assert!(kept.misses.into_inner() >= 1_000 - SLOTS);
        let long = "x".repeat(LONGEST + 1);
        let kept = Kept::new();
        assert_eq!(*kept.get(long.as_bytes(), || 1), 1);
        assert_eq!(*kept.get(long.as_bytes(), || 2), 2, "it was not kept");
    }

    /// More of them than may find their place taken.
    fn wear_out(recent: &Recent) {
        for n in 0..u32::try_from(MISSES + SLOTS).unwrap() {
            let (generation, address) = (recent.0.load(), IpAddr::from(n.to_be_bytes()));
            assert_eq!(generation.address(address).as_str(), address.to_string());
        }
    }

    #[test]
    fn after_many_misses_others_are_kept_and_other_kinds_stay() {
        let (recent, agent) = (Recent::new(), HeaderValue::from_static("curl/8"));
        let keeps = |n: u32| matches!(recent.load().address(IpAddr::from(n.to_be_bytes())), Cow::Borrowed(_));
        recent.load().agent(&agent);
        recent.load().tenant("acme");
        wear_out(&recent);
        assert!(!keeps(1 << 30) && keeps(1 << 30), "it is a new generation, which keeps what comes first");
        assert!(matches!(recent.load().agent(&agent), Cow::Borrowed(_)));
        assert!(matches!(recent.load().tenant("acme"), Cow::Borrowed(_)));
    }

    #[test]
    fn of_threads_that_see_a_generation_worn_out_one_begins_anew() {
        let recent = Recent::new();
        wear_out(&recent);
        let seen = recent.0.load_full();
        recent.renew(&seen);
        let first = recent.0.load_full();
        recent.renew(&seen);
        assert!(!Arc::ptr_eq(&first, &seen) && Arc::ptr_eq(&first, &recent.0.load_full()));
    }

    #[test]
    fn texts_that_nobody_has_any_more_are_freed() {
        let longer = "x".repeat(LONGEST + 88);
        let both = [longer.as_str(), "short"].map(|text| HeaderValue::from_str(text).unwrap());
        // What reading an `ArcSwap` needs stays for as long as the thread.
        let _warm = Recent::new().load().tenant("acme").into_owned();
        let leaked = allocation_counter::measure(|| {
            for _ in 0..3 {
                let recent = Recent::new();
                wear_out(&recent);
                for agent in &both {
                    let _freed = recent.load().agent(agent).into_owned();
                }
                let _freed = recent.load().host(b"shop.example").into_owned();
                let _freed = recent.load().tenant("acme").into_owned();
            }
        });
        assert_eq!(leaked.bytes_current, 0);
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
