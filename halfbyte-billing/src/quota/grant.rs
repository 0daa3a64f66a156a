use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use halfbyte_core::TenantId;
use jiff::Timestamp;

/// A longer name than a UUID's is compared where it is and not here.
const SHORT: usize = 38;
/// Of no catalogue: what bears it does not hold.
const OUTDATED: u64 = u64::MAX;

/// To whom something was granted, of which feature, and whether it still is.
#[derive(Debug)]
pub(crate) struct Grant {
    name: Name,
    /// The feature, as an index.
    feature: usize,
    /// In microseconds since 1970. Written before `epoch` is, and read after it.
    until: AtomicI64,
    epoch: AtomicU64,
}

/// The name of a tenant, where it is compared with: beside what is read next.
#[derive(Debug)]
enum Name {
    Short { bytes: [u8; SHORT], len: u8 },
    Long(TenantId),
}

impl Grant {
    /// One that does not hold.
    pub(crate) fn new(tenant: &TenantId, feature: usize) -> Self {
        Self { name: Name::of(tenant), feature, until: AtomicI64::new(0), epoch: AtomicU64::new(OUTDATED) }
    }

    /// Whether it is `tenant`'s, of `feature`.
    pub(crate) fn is_of(&self, tenant: &TenantId, feature: usize) -> bool {
        self.feature == feature && self.name.is(tenant)
    }

    /// Whether it is still what the account says.
    pub(crate) fn holds(&self, now: Timestamp, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch && now.as_microsecond() < self.until.load(Ordering::Relaxed)
    }

    /// From now on it holds until then. Only one thread at a time may say so.
    pub(crate) fn set(&self, until: Timestamp, epoch: u64) {
        self.until.store(until.as_microsecond(), Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// It holds no longer. Only one thread at a time may say so.
    pub(crate) fn outdate(&self) {
        self.epoch.store(OUTDATED, Ordering::Release);
    }
}

impl Name {
    fn of(tenant: &TenantId) -> Self {
        let name = tenant.as_str().as_bytes();
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(short), Ok(len)) => {
                short.copy_from_slice(name);
                Name::Short { bytes, len }
            }
            _ => Name::Long(tenant.clone()),
        }
    }

    fn is(&self, tenant: &TenantId) -> bool {
        match self {
            Name::Short { bytes, len } => bytes.get(..usize::from(*len)) == Some(tenant.as_str().as_bytes()),
            Name::Long(name) => name == tenant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_of_one_tenant_and_feature_however_long_the_name_is() {
        let names: Vec<_> = [1, 37, 38, 39, 40, 255]
            .iter()
            .flat_map(|length| ["a", "b"].map(|last| TenantId::new(format!("{last:x>length$}")).expect("valid")))
            .collect();
        for name in &names {
            let grant = Grant::new(name, 1);
            for other in &names {
                assert_eq!(grant.is_of(other, 1), name == other, "{name} {other}");
                assert!(!grant.is_of(other, 0));
            }
        }
    }

    #[test]
    fn a_grant_holds_in_its_epoch_until_it_ends_or_is_outdated() {
        let end = Timestamp::from_second(1_900_000_000).expect("in range");
        let before = Timestamp::from_microsecond(end.as_microsecond() - 1).expect("in range");
        let grant = Grant::new(&TenantId::new("acme").expect("valid"), 0);
        assert!(!grant.holds(Timestamp::MIN, 0) && !grant.holds(before, 7));
        grant.set(end, 7);
        assert_eq!([before, end].map(|now| grant.holds(now, 7)), [true, false]);
        assert!(!grant.holds(before, 6) && !grant.holds(before, 8));
        grant.outdate();
        assert!(!grant.holds(before, 7));
        grant.set(Timestamp::MAX, 8);
        assert!(grant.holds(end, 8));
    }
}
