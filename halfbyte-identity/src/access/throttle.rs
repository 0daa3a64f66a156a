//! How many denials are logged in full: the first ones of each second, by principal and action; the rest are counted, and the count
//! is told. Formats nothing, and does not grow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use halfbyte_core::TenantId;
use tokio::time::Instant;

use super::entity::EntityRef;

/// How long is counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How many kinds are told apart; those on top are counted together.
const KINDS: usize = 1024;

/// How many of those are of the principals of one tenant, which may have as many as it likes; those on top are counted together, so
/// that no tenant takes the room of the others.
const OF_TENANT: usize = 128;

/// When nothing is held back.
const NEVER: u64 = u64::MAX;

/// Denials that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// `None` if there are too many to be told apart.
    pub(super) tenant: Option<TenantId>,
    /// As policies name him. `None` if there are too many of the tenant, or of all.
    pub(super) principal: Option<EntityRef>,
    pub(super) action: &'static str,
    /// Counted by themselves, so that nobody hides them behind others.
    pub(super) is_severe: bool,
}

/// What was not logged of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) kind: Kind,
    pub(super) count: u64,
}

struct Slot {
    since: Instant,
    admitted: u32,
    held: u64,
}

#[derive(Default)]
struct Slots {
    by_kind: HashMap<Kind, Slot>,
    /// How many of these are of a tenant's principals.
    of_tenant: HashMap<TenantId, usize>,
    /// When those last went that nobody needs.
    cleared: Option<Instant>,
}

/// The denials of late.
pub(super) struct Throttle {
    first: u32,
    slots: Mutex<Slots>,
    /// From when on something is to be told, in milliseconds from `origin`. Written under the lock.
    due: AtomicU64,
    origin: OnceLock<Instant>,
}

impl Throttle {
    /// Lets `first` of each kind through in a second.
    pub(super) fn new(first: u32) -> Self {
        Self { first, slots: Mutex::default(), due: AtomicU64::new(NEVER), origin: OnceLock::new() }
    }

    /// Whether a denial is logged; else it is counted.
    pub(super) fn admits(&self, kind: Kind, now: Instant) -> bool {
        let mut slots = self.slots();
        let slot = slots.of(kind, now);
        if is_over(slot, now) && slot.held == 0 {
            (slot.since, slot.admitted) = (now, 0);
        }
        if slot.admitted < self.first {
            slot.admitted += 1;
            return true;
        }
        slot.held += 1;
        let due = self.millis(slot.since + WINDOW);
        self.due.fetch_min(due, Ordering::Relaxed);
        false
    }

    /// What was held back in seconds that are over, once.
    pub(super) fn due(&self, now: Instant) -> Vec<Suppressed> {
        let due = self.due.load(Ordering::Relaxed);
        if due == NEVER || self.millis(now) < due {
            return Vec::new();
        }
        self.take(|slot| is_over(slot, now))
    }

    /// All that was held back and not told yet.
    pub(super) fn rest(&self) -> Vec<Suppressed> {
        self.take(|_| true)
    }

    fn take(&self, is_told: impl Fn(&Slot) -> bool) -> Vec<Suppressed> {
        let (mut slots, mut told, mut due) = (self.slots(), Vec::new(), NEVER);
        for (kind, slot) in slots.by_kind.iter_mut().filter(|(_, slot)| slot.held > 0) {
            if is_told(slot) {
                told.push(Suppressed { kind: kind.clone(), count: std::mem::take(&mut slot.held) });
            } else {
                due = due.min(self.millis(slot.since + WINDOW));
            }
        }
        self.due.store(due, Ordering::Relaxed);
        told
    }

    /// Rounded up, so that what is due is over.
    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(*self.origin.get_or_init(|| at));
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER - 1)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Where `kind` is counted: by itself if there is room, else with others.
    fn of(&mut self, mut kind: Kind, now: Instant) -> &mut Slot {
        if !self.by_kind.contains_key(&kind) {
            if !self.has_room(&kind) {
                self.clear(now);
            }
            if !self.has_room(&kind) {
                kind.principal = None;
            }
            if !self.by_kind.contains_key(&kind) && !self.has_room(&kind) {
                kind = Kind { tenant: None, principal: None, action: "", ..kind };
            }
        }
        // Counted if it is new, and of a principal.
        if let (Some(tenant), Some(_)) = (&kind.tenant, &kind.principal)
            && !self.by_kind.contains_key(&kind)
        {
            *self.of_tenant.entry(tenant.clone()).or_default() += 1;
        }
        self.by_kind.entry(kind).or_insert(Slot { since: now, admitted: 0, held: 0 })
    }

    fn has_room(&self, kind: &Kind) -> bool {
        let of_tenant = kind.tenant.as_ref().and_then(|tenant| self.of_tenant.get(tenant)).copied().unwrap_or(0);
        self.by_kind.len() < KINDS && (kind.principal.is_none() || of_tenant < OF_TENANT)
    }

    /// At most once in a second, as it looks at all.
    fn clear(&mut self, now: Instant) {
        if self.cleared.is_some_and(|cleared| now.saturating_duration_since(cleared) < WINDOW) {
            return;
        }
        self.cleared = Some(now);
        self.by_kind.retain(|_, slot| slot.held > 0 || !is_over(slot, now));
        self.of_tenant.clear();
        for kind in self.by_kind.keys().filter(|kind| kind.principal.is_some()) {
            if let Some(tenant) = &kind.tenant {
                *self.of_tenant.entry(tenant.clone()).or_default() += 1;
            }
        }
    }
}

fn is_over(slot: &Slot, now: Instant) -> bool {
    now.saturating_duration_since(slot.since) >= WINDOW
}

/// A warning that every request would repeat: once in a second, with how many more there were since the last one.
pub(super) struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// How many were not told before this one, if this one is.
    pub(super) fn admits(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((told, more)) if now.saturating_duration_since(*told) < WINDOW => {
                *more += 1;
                None
            }
            last => Some(last.replace((now, 0)).map_or(0, |(_, more)| more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(tenant: usize, is_severe: bool) -> Kind {
        of(tenant, 1, is_severe)
    }

    fn of(tenant: usize, principal: usize, is_severe: bool) -> Kind {
        let principal = EntityRef::new("HalfByte::User", format!("t-{tenant}/{principal}"));
        let tenant = TenantId::new(format!("t-{tenant}")).expect("a tenant");
        Kind { tenant: Some(tenant), principal: Some(principal), action: "Read", is_severe }
    }

    #[test]
    fn the_first_of_a_second_are_let_through_and_the_rest_told_once_it_is_over() {
        let (throttle, start) = (Throttle::new(3), Instant::now());
        let admitted = |at: u64, times: u32| {
            let now = start + Duration::from_millis(at);
            (0..times).filter(|_| throttle.admits(kind(1, false), now)).count()
        };
        let due = |at: u64| {
            let told = throttle.due(start + Duration::from_millis(at));
            told.iter().map(|told| (told.kind.clone(), told.count)).collect::<Vec<_>>()
        };
        assert_eq!((due(0), admitted(0, 5), admitted(999, 2)), (vec![], 3, 0));
        assert!(throttle.admits(kind(2, false), start) && throttle.admits(kind(1, true), start));
        assert_eq!(due(999), []);
        assert_eq!(due(1000), [(kind(1, false), 4)]);
        assert_eq!(due(1000), []);
        assert_eq!(
            (admitted(1000, 5), admitted(1999, 1), admitted(2000, 1)),
            (3, 0, 0),
            "not told yet, and counted on"
        );
        assert_eq!((due(2000), admitted(2000, 1)), (vec![(kind(1, false), 4)], 1));
        assert_eq!((admitted(2500, 9), throttle.rest().len(), throttle.rest().len()), (2, 1, 0));
    }

    #[test]
    fn it_does_not_grow_and_what_has_no_place_of_its_own_is_counted_together() {
        let (throttle, start) = (Throttle::new(1), Instant::now());
        let admitted = (0..3 * KINDS).filter(|tenant| throttle.admits(kind(*tenant, false), start)).count();
        assert_eq!((admitted, throttle.slots().by_kind.len()), (KINDS + 1, KINDS + 1));
        let others = Kind { tenant: None, principal: None, action: "", is_severe: false };
        let count = (2 * KINDS - 1) as u64;
        assert_eq!(throttle.due(start + WINDOW), [Suppressed { kind: others, count }]);
        assert!(throttle.admits(kind(5000, false), start + WINDOW), "those of the last second have made room");
        let slots = throttle.slots();
        assert_eq!((slots.by_kind.len(), slots.of_tenant.len()), (1, 1));
    }

    #[test]
    fn however_many_principals_a_tenant_has_it_leaves_room_for_others() {
        let (throttle, start) = (Throttle::new(1), Instant::now());
        let all = 2 * KINDS;
        let admitted = (0..all).filter(|principal| throttle.admits(of(1, *principal, false), start)).count();
        assert_eq!(admitted, OF_TENANT + 1, "and one of those that are counted together");
        assert!(!throttle.admits(of(1, 0, false), start), "who has a place of his own keeps it");
        assert!(throttle.admits(of(1, all, true), start), "what is worse is not hidden behind it");
        for tenant in 2..100 {
            assert!(throttle.admits(kind(tenant, false), start), "{tenant}");
        }
        let mut told = throttle.due(start + WINDOW);
        told.sort_unstable_by_key(|told| told.count);
        let together = Kind { principal: None, ..of(1, 0, false) };
        let count = (all - OF_TENANT - 1) as u64;
        let single = Suppressed { kind: of(1, 0, false), count: 1 };
        assert_eq!(told, [single, Suppressed { kind: together, count }]);
        assert!(throttle.admits(of(1, all, false), start + WINDOW) && throttle.slots().by_kind.len() == 1);
    }

    #[test]
    fn a_warning_is_told_once_in_a_second_with_how_many_more_there_were() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let at = |millis| seldom.admits(start + Duration::from_millis(millis));
        let told = [0, 0, 999, 1000, 1999, 2000, 9000].map(at);
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_let_through_and_what_is_told_add_up(steps in proptest::collection::vec((0_usize..400, 0_u64..20), 0..900)) {
            let throttle = Throttle::new(2);
            let (mut now, mut seen, mut all) = (Instant::now(), 0, 0);
            for (who, wait) in steps {
                now += Duration::from_millis(wait);
                let told = throttle.due(now);
                prop_assert!(told.iter().all(|told| told.count > 0));
                seen += told.iter().map(|told| told.count).sum::<u64>();
                seen += u64::from(throttle.admits(of(who % 2, who / 2, false), now));
                all += 1;
                let slots = throttle.slots();
                let mut counted: HashMap<TenantId, usize> = HashMap::new();
                let own = slots.by_kind.keys().filter(|kind| kind.principal.is_some());
                own.filter_map(|kind| kind.tenant.clone()).for_each(|of| *counted.entry(of).or_default() += 1);
                prop_assert!(counted == slots.of_tenant && counted.values().all(|count| *count <= OF_TENANT));
            }
            seen += throttle.rest().iter().map(|told| told.count).sum::<u64>();
            prop_assert_eq!(seen, all);
        }
    }
}
