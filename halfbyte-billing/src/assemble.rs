//! From what happened to what the store is given: which meters count it, and which lots it is charged to.

use std::sync::Arc;

use halfbyte_core::{ProductId, TenantId};
use jiff::Timestamp;

use crate::account::{Mode, Right};
use crate::accounts::Accounts;
use crate::event::{Correction, Event};
use crate::journal::Use;
use crate::metering::{Measured, Measurement, measure};
use crate::quota::{Cell, Metered};
use crate::store::{Charge, Entry, Held, Holder};
use crate::{Aggregation, Error, ErrorKind, Feature, IdempotencyKey, Meter};

/// A settled use: the event that it is, with what was held for it. Where the catalogue does not have its feature any more,
/// it counts as what it was `granted` as.
///
/// # Errors
///
/// The catalogue does not have the metered feature, and it is not known what it was ([`ErrorKind::Catalog`]); or what it
/// says is no use at all ([`ErrorKind::Invalid`]).
pub(crate) fn of_use(
    accounts: &Accounts,
    used: &Use<'_>,
    granted: Option<&Metered>,
    held: Option<Held>,
    now: Timestamp,
) -> Result<Entry, Error> {
    let catalog = accounts.catalog();
    let sold = catalog.feature(used.feature).and_then(|feature| Some((feature, catalog.meter_of_feature(feature)?)));
    // What counts it may be there without the feature.
    let gone = granted.map(|gone| (&gone.feature, catalog.meter(&gone.meter.name).unwrap_or(&gone.meter)));
    let (feature, meter) = sold.or(gone).ok_or_else(|| {
        let message = format!("the catalogue has no metered feature \"{}\"", used.feature);
        Error::new(ErrorKind::Catalog, message)
    })?;
    let gone = granted.filter(|_| sold.is_none());
    let tenant = TenantId::new(used.tenant).map_err(|error| Error::because(ErrorKind::Invalid, "a journal", error))?;
    let build = |used: &Use<'_>| {
        let event = event_of_use(used, &feature.product, meter)?;
        assembled(accounts, event, tenant.clone(), None, gone, now)
    };
    let mut entry = match build(used) {
        // Its dimensions are no good for the meters: that it was used counts all the same.
        Err(_) if !used.data.is_empty() => build(&Use { data: "", ..*used })?,
        entry => entry?,
    };
    // A repetition of it comes at another time, and with other dimensions it is still the same: the key says so.
    entry.digest = format!("use:{}:{}", used.feature, used.units).into();
    match (held, entry.charges.iter_mut().find(|charge| &*charge.feature == used.feature)) {
        (None, _) => {}
        (held, Some(charge)) => charge.held = held,
        // Nothing limits it any more: what was held for it goes back.
        (held, None) => {
            let feature = feature.name.clone();
            entry.charges.push(Charge { feature, units: 0, held, lots: Arc::default(), said: None });
        }
    }
    Ok(entry)
}

/// The source of all uses of a tenant: an idempotency key is one's own.
pub(crate) fn source(product: &ProductId, tenant: &str) -> String {
    format!("/{product}/{tenant}")
}

/// The id of a use: a key counts once for each meter.
pub(crate) fn id(meter: &str, key: IdempotencyKey) -> String {
    format!("{meter}/{key}")
}

/// The event that a use is.
fn event_of_use(used: &Use<'_>, product: &ProductId, meter: &Meter) -> Result<Event, Error> {
    let mut data: serde_json::Map<String, serde_json::Value> = if used.data.is_empty() {
        serde_json::Map::new()
    } else {
        serde_json::from_str(used.data).map_err(|error| Error::because(ErrorKind::Invalid, "data of a use", error))?
    };
    if meter.aggregation != Aggregation::Count {
        let amount = crate::metering::decimal(used.units, meter.decimals);
        data.insert((*meter.value).to_owned(), amount.to_string().into());
    }
    let event =
        Event::new(&source(product, used.tenant), &id(&meter.name, used.key), &meter.event, used.tenant, used.at)
            .and_then(|event| event.data(&data))
            .map_err(|error| Error::because(ErrorKind::Invalid, "the event of a use", error))?;
    Ok(event)
}

/// An event of `tenant`, with everything that it changes; a correction comes with the use that it corrects in the end.
pub(crate) fn of_event(
    accounts: &Accounts,
    event: Event,
    tenant: TenantId,
    correction: Option<(Correction, Event)>,
    now: Timestamp,
) -> Result<Entry, Error> {
    let mut entry = assembled(accounts, event, tenant, correction, None, now)?;
    entry.digest = entry.event.digest().into();
    Ok(entry)
}

/// As [`of_event`], without a digest; `gone` has left the catalogue and counts all the same.
fn assembled(
    accounts: &Accounts,
    event: Event,
    tenant: TenantId,
    correction: Option<(Correction, Event)>,
    gone: Option<&Metered>,
    now: Timestamp,
) -> Result<Entry, Error> {
    let catalog = accounts.catalog();
    // What takes the place of something else counts as and when that did.
    let amended;
    let (counted, correction) = match correction {
        None => (Some(&event), None),
        Some((correction, target)) => {
            amended = correction.data.clone().map(|data| Event { data, ..target });
            (amended.as_ref(), Some(correction))
        }
    };
    let measurements = match counted {
        Some(event) => {
            let gone = gone.map(|gone| &gone.meter).filter(|meter| catalog.meter(&meter.name).is_none());
            let meters = catalog.meters_of_event(&event.kind).iter().map(|meter| &**meter).chain(gone);
            measure(meters, &event.kind, &event.data)
                .map_err(|error| Error::because(ErrorKind::Invalid, "the event cannot be counted", error))?
        }
        None => Vec::new(),
    };
    let at = counted.map_or(event.time, |event| event.time);
    let charged = |measurement: &Measurement| {
        let gone = || gone.filter(|gone| gone.meter.name == measurement.meter).map(|gone| &gone.feature);
        let feature = catalog.feature_of_meter(&measurement.meter).or_else(gone)?;
        let units = units(&measurement.value)?;
        charge(accounts, &tenant, feature, units, (at, now))
    };
    let charges = measurements.iter().filter_map(charged).collect();
    let digest = Box::default();
    Ok(Entry { event, tenant, at, digest, measurements, charges, correction })
}

fn units(value: &Measured) -> Option<u64> {
    match value {
        Measured::Amount(amount) => u64::try_from(*amount).ok().filter(|units| *units > 0),
        Measured::Unique(_) | Measured::Level(_) => None,
    }
}

/// What `units` of a feature are charged to; `None` where nothing limits it.
fn charge(
    accounts: &Accounts,
    tenant: &TenantId,
    feature: &Feature,
    units: u64,
    (at, now): (Timestamp, Timestamp),
) -> Option<Charge> {
    let (right, said) = accounts.right(tenant, feature, at, now);
    let lots = match right {
        Right::Metered(right) if right.mode == Mode::Unlimited => return None,
        Right::Metered(right) => right.lots,
        // It was used although the plan does not have it: all of it is overage.
        Right::None | Right::Unpaid | Right::Included | Right::Value(_) => Arc::default(),
    };
    Some(Charge { feature: feature.name.clone(), units, held: None, lots, said: Some(said) })
}

/// Who holds what a cell of the process `owner` has.
pub(crate) fn holder(owner: uuid::Uuid, cell: &Cell) -> Holder {
    Holder { owner, cell: cell.id }
}
