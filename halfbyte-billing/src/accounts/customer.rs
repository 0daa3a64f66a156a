use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::account::Account;
use crate::quota::Cell;

/// A tenant: its account, and what was computed of it.
#[derive(Debug)]
pub(crate) struct Customer {
    /// `None` for a tenant that the store has no account of.
    pub(crate) account: Option<Account>,
    /// By the index of the feature. Replaced as a whole: it is read by every request and changes a few times a month.
    rights: ArcSwap<Vec<Option<Arc<Granted>>>>,
}

/// What a tenant may do with a feature, for a while.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(super) until: Timestamp,
    pub(super) epoch: u64,
    pub(crate) what: What,
}

/// What a tenant may do with a feature.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Nothing,
    /// Nothing until something is paid.
    Unpaid,
    Included,
    Value(Box<str>),
    Metered(Arc<Cell>),
}

impl Granted {
    /// Whether it is still what the account says.
    pub(super) fn holds(&self, now: Timestamp, epoch: u64) -> bool {
        now < self.until && self.epoch == epoch
    }
}

impl Customer {
    pub(super) fn new(account: Option<Account>) -> Self {
        Self { account, rights: ArcSwap::default() }
    }

    /// With another account. What was computed of the one before holds no longer, and is there to be compared with.
    pub(super) fn succeeding(before: &Self, account: Account) -> Self {
        let outdated = |granted: &Arc<Granted>| {
            Arc::new(Granted { until: Timestamp::MIN, epoch: granted.epoch, what: granted.what.clone() })
        };
        let rights: Vec<_> = before.rights.load().iter().map(|granted| granted.as_ref().map(outdated)).collect();
        Self { account: Some(account), rights: ArcSwap::from_pointee(rights) }
    }

    pub(super) fn granted(&self, index: usize) -> Option<Arc<Granted>> {
        self.rights.load().get(index)?.clone()
    }

    /// Remembers what was computed, unless another thread did so meanwhile: two cells of one right would share nothing.
    pub(super) fn remember(&self, index: usize, granted: Granted, now: Timestamp, epoch: u64) -> Arc<Granted> {
        let granted = Arc::new(granted);
        let mut kept = granted.clone();
        self.rights.rcu(|rights| {
            let mut rights = (**rights).clone();
            if rights.len() <= index {
                rights.resize(index + 1, None);
            }
            kept = match &rights[index] {
                Some(there) if there.holds(now, epoch) => there.clone(),
                _ => granted.clone(),
            };
            rights[index] = Some(kept.clone());
            rights
        });
        kept
    }
}
