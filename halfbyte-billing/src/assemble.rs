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
    let invalid = |error| Error::because(ErrorKind::Invalid, "the event of a use", error);
    let event =
        Event::new(&source(product, used.tenant), &id(&meter.name, used.key), &meter.event, used.tenant, used.at)
            .map_err(invalid)?;
    let amount = (meter.aggregation != Aggregation::Count)
        .then(|| crate::metering::decimal(used.units, meter.decimals).to_string());
    if used.data.is_empty() {
        // Nearly all uses: what has one name and one text need not be read to be known for canonical.
        let said = |text: &str| serde_json::Value::from(text).to_string();
        let data = amount.map_or("{}".to_owned(), |amount| format!("{{{}:{}}}", said(&meter.value), said(&amount)));
        return Ok(Event { data: data.into(), ..event });
    }
    let mut data: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(used.data).map_err(|error| Error::because(ErrorKind::Invalid, "data of a use", error))?;
    data.extend(amount.map(|amount| ((*meter.value).to_owned(), amount.into())));
    event.data(&data).map_err(invalid)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use crate::event::json::canonical_object;

    fn event(value: &str, aggregation: &str, data: &str) -> Event {
        let catalog = format!(
            "[products.parcel]\ntitle = \"Parcel\"\n[meters.paper]\nproduct = \"parcel\"\nunit = \"sheet\"\n\
             aggregation = \"{aggregation}\"\n{value}"
        );
        let catalog = Catalog::parse("catalog.toml", &catalog).unwrap();
        let meter = catalog.meter("paper").unwrap();
        let (key, at) = (IdempotencyKey::of(b"1"), "2026-11-02T08:30:00Z".parse().unwrap());
        let used = Use { tenant: "acme", feature: "paper", key, at, units: 1250, held: 0, cell: 0, data };
        event_of_use(&used, &meter.product, meter).unwrap()
    }

    #[test]
    fn a_use_without_data_is_the_event_that_it_would_be_with_an_empty_object() {
        for (value, aggregation) in [("", "count"), ("value = \"sheets\"", "sum"), ("value = 'a \"sheet\"'", "sum")] {
            let (short, long) = (event(value, aggregation, ""), event(value, aggregation, "{}"));
            assert_eq!(short, long);
            assert_eq!(canonical_object(&short.data).unwrap(), *short.data);
        }
        assert_eq!(&*event("value = \"sheets\"", "sum", "").data, r#"{"sheets":"1250"}"#);
    }
}
