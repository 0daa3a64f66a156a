//! Sequences of lots: one lot each period.

use jiff::Timestamp;

use super::{Grant, OwnedAddOn};
use crate::ledger::{LotSpec, Rollover};
use crate::period::slot_start;
use crate::{Allowance, Anchor, Limit, Per, Period, Reset};

/// The priority of what plans and add-ons include.
const INCLUDED: i32 = 100;
/// The priority of grace: after everything else.
const GRACE: i32 = i32::MAX;
/// How many lots back something can have been taken over from.
const EARLIER: usize = 24;

/// What the periods of a sequence are counted from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cycle<'a> {
    Calendar,
    From(&'a Anchor),
}

impl<'a> Cycle<'a> {
    /// The cycle of an allowance; without an anchor there is only the calendar.
    pub(super) fn of(reset: Reset, anchor: Option<&'a Anchor>) -> Self {
        match (reset, anchor) {
            (Reset::Anniversary, Some(anchor)) => Cycle::From(anchor),
            _ => Cycle::Calendar,
        }
    }

    pub(super) fn period_at(self, per: Per, at: Timestamp) -> Period {
        match self {
            Cycle::Calendar => Period::containing(at, per),
            Cycle::From(anchor) => anchor.period_at(per, at),
        }
    }

    fn before(self, period: Period) -> Period {
        self.period_at(period.per(), slot_start(period.first_slot() - 1))
    }
}

/// How much there is in a period, and what it takes over from the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) units: u64,
    pub(super) rollover: u64,
}

impl Amount {
    /// What an allowance has in lots.
    pub(super) fn of(allowance: &Allowance) -> Option<Self> {
        match allowance.limit {
            Limit::Hard { units, .. } | Limit::Soft { units } => Some(Self { units, rollover: allowance.rollover }),
            Limit::Unlimited | Limit::Prepaid => None,
        }
    }
}

/// Lots of one origin.
#[derive(Debug)]
pub(super) struct Sequence<'a> {
    /// What the keys of its lots begin with.
    name: String,
    cycle: Cycle<'a>,
    priority: i32,
    /// No lot is of a period that ended by then.
    since: Timestamp,
    /// No lot can be used before.
    effective: Timestamp,
    /// No lot can be used from then on.
    ends: Option<Timestamp>,
    /// `None` for the beginning of each period.
    created: Option<Timestamp>,
}

impl<'a> Sequence<'a> {
    /// The allowance of a plan. A period has one lot, whichever plan it is of: what was used counts on.
    pub(super) fn plan(cycle: Cycle<'a>, since: Timestamp) -> Self {
        let name = "plan".to_owned();
        Self { name, cycle, priority: INCLUDED, since, effective: Timestamp::MIN, ends: None, created: None }
    }

    pub(super) fn add_on(add_on: &OwnedAddOn, cycle: Cycle<'a>) -> Self {
        let (name, since) = (format!("add-on/{}", add_on.name), add_on.since);
        Self { name, cycle, priority: INCLUDED, since, effective: since, ends: add_on.until, created: None }
    }

    /// A grant that recurs.
    pub(super) fn grant(grant: &'a Grant) -> Self {
        let since = grant.anchor.at();
        Self {
            name: format!("grant/{}", grant.spec.id),
            cycle: Cycle::From(&grant.anchor),
            priority: grant.spec.priority,
            since,
            effective: since,
            ends: grant.end(),
            created: Some(grant.granted),
        }
    }

    /// The lot of a period; `earlier` says how much there was in the periods before it.
    pub(super) fn lot(&self, period: Period, amount: Amount, earlier: impl Fn(Period) -> Option<Amount>) -> LotSpec {
        let mut lot = self.alone(period, amount);
        if let Some(rollover) = &mut lot.rollover {
            rollover.previous = self.previous(period, earlier);
        }
        lot
    }

    /// The lots before, newest first, as far as something can have come from them.
    fn previous(&self, mut period: Period, earlier: impl Fn(Period) -> Option<Amount>) -> Vec<LotSpec> {
        let mut lots = Vec::new();
        while lots.len() < EARLIER {
            period = self.cycle.before(period);
            if period.end() <= self.since {
                break;
            }
            let Some(amount) = earlier(period) else { break };
            lots.push(self.alone(period, amount));
            if amount.rollover == 0 {
                break;
            }
        }
        lots
    }

    fn alone(&self, period: Period, amount: Amount) -> LotSpec {
        let rollover = (amount.rollover > 0).then(|| Rollover { max: amount.rollover, previous: Vec::new() });
        LotSpec {
            key: format!("{}/{}", self.name, period.start()).into(),
            priority: self.priority,
            effective: self.effective.max(period.start()),
            expires: Some(self.ends.map_or(period.end(), |ends| ends.min(period.end()))),
            created: self.created.unwrap_or_else(|| period.start()),
            amount: amount.units,
            rollover,
            overage: false,
        }
    }
}

/// The grace on top of a lot of a plan or an add-on, if there is any.
pub(super) fn grace(lot: &LotSpec, limit: Limit) -> Option<LotSpec> {
    let Limit::Hard { units, grace } = limit else { return None };
    let amount = u64::try_from(u128::from(units) * u128::from(grace) / 100).unwrap_or(u64::MAX);
    let of = lot.key.strip_prefix("plan/").unwrap_or(&lot.key);
    let key = format!("grace/{of}").into();
    (amount > 0).then(|| LotSpec { key, priority: GRACE, amount, rollover: None, overage: true, ..lot.clone() })
}

/// The one lot of a grant that does not recur.
pub(super) fn once(grant: &Grant) -> LotSpec {
    LotSpec {
        key: format!("grant/{}", grant.spec.id).into(),
        priority: grant.spec.priority,
        effective: grant.anchor.at(),
        expires: grant.end(),
        created: grant.granted,
        amount: grant.spec.amount,
        rollover: None,
        overage: false,
    }
}
