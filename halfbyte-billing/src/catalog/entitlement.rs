//! `features.labels = { limit = 100, per = "month" }`: what a plan, a template or an add-on says of each feature.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::amount::{AMOUNT_MAX, amount, decimal};
use super::feature::{Drafted, Shape};
use super::parse::{Section, find};
use super::read::{Quoted, Reader, Value, describe, integer, join};
use super::{Allowance, Entitlement, Limit, Reset};
use crate::Per;

const LIMIT_SHAPE: &str = "{ limit = 100, per = \"month\" }";

/// What is said of each feature; `None` where it is written off.
pub(super) type Set = BTreeMap<Arc<str>, Option<Entitlement>>;

/// Who says it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grantor {
    /// A plan, or a template for plans.
    Plan,
    AddOn,
}

/// Reads the member `features` of `table`.
pub(super) fn entitlements(
    reader: &mut Reader<'_>,
    features: &Section<Drafted>,
    path: &str,
    table: &DeTable<'_>,
    grantor: Grantor,
) -> Set {
    let path = join(path, "features");
    let table = table.get("features").and_then(|value| reader.table(&path, value));
    let mut set = Set::new();
    for (key, value) in table.into_iter().flatten() {
        let (name, path) = (&**key.get_ref(), join(&path, key.get_ref()));
        let found = find(reader, features, "feature", &path, name, key.span().start);
        let Some(shape) = found.and_then(|feature| feature.shape) else { continue };
        if let Some(entitlement) = entitlement(reader, &path, value, shape, grantor) {
            set.insert(name.into(), entitlement);
        }
    }
    set
}

fn entitlement(
    reader: &mut Reader<'_>,
    path: &str,
    value: &Value<'_>,
    shape: Shape,
    grantor: Grantor,
) -> Option<Option<Entitlement>> {
    if value.get_ref().as_bool() == Some(false) {
        if grantor == Grantor::AddOn {
            reader.fault(value.span().start, path, "an add-on takes nothing away; remove it");
        }
        return Some(None);
    }
    let entitlement = match shape {
        Shape::Switch => switch(reader, path, value),
        Shape::Value => static_value(reader, path, value),
        Shape::Metered(decimals) => metered(reader, path, value, decimals, grantor).map(Entitlement::Metered),
    };
    entitlement.map(Some)
}

fn switch(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<Entitlement> {
    if let DeValue::Table(_) = value.get_ref() {
        let message = "the feature has no meter and can have no limit; write true, or give the feature a meter";
        reader.fault(value.span().start, path, message);
        return None;
    }
    reader.flag(path, value).map(|_| Entitlement::Included)
}

fn static_value(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<Entitlement> {
    let text = match value.get_ref() {
        DeValue::String(_) => return reader.text_of(path, value).map(|text| Entitlement::Value(text.into())),
        DeValue::Integer(_) => integer(value).map(|number| number.to_string()),
        DeValue::Float(_) => decimal(value).map(|number| number.to_string()),
        _ => None,
    };
    if text.is_none() {
        let message = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => {
                "the number cannot be kept exactly; write it in quotes".to_owned()
            }
            other => format!("the feature has a value; write a number or a text, not {}", describe(other)),
        };
        reader.fault(value.span().start, path, message);
    }
    text.map(|text| Entitlement::Value(text.into()))
}

fn metered(
    reader: &mut Reader<'_>,
    path: &str,
    value: &Value<'_>,
    decimals: Option<u8>,
    grantor: Grantor,
) -> Option<Allowance> {
    let at = value.span().start;
    match value.get_ref() {
        DeValue::Table(table) => {
            reader.refuse_unknown(path, table, &["limit", "soft", "grace", "per", "reset", "rollover"]);
            if grantor == Grantor::AddOn {
                refuse_what_adds_nothing(reader, path, table);
            }
            allowance(reader, path, table, at, decimals)
        }
        DeValue::String(_) if grantor == Grantor::AddOn => {
            reader.fault(at, path, format!("an add-on adds so much; write {LIMIT_SHAPE}"));
            None
        }
        DeValue::String(word) => {
            let limit = match &**word {
                "unlimited" => Limit::Unlimited,
                "prepaid" => Limit::Prepaid,
                other => {
                    let hint = reader.hint(other, ["unlimited", "prepaid"]);
                    reader.fault(at, path, format!("cannot be {}{hint}; or write {LIMIT_SHAPE}", Quoted(other)));
                    return None;
                }
            };
            Some(Allowance { limit, per: Per::Month, reset: Reset::Calendar, rollover: 0 })
        }
        _ => {
            reader.fault(at, path, format!("the feature is metered and needs a limit; write {LIMIT_SHAPE}"));
            None
        }
    }
}

fn refuse_what_adds_nothing(reader: &mut Reader<'_>, path: &str, table: &DeTable<'_>) {
    for (key, message) in [
        ("soft", "an add-on adds to what its plan lets through; write limit"),
        ("grace", "an add-on has no grace; give it to the limit of the plan"),
    ] {
        if let Some(value) = table.get(key) {
            reader.fault(value.span().start, &join(path, key), message);
        }
    }
}

fn allowance(
    reader: &mut Reader<'_>,
    path: &str,
    table: &DeTable<'_>,
    at: usize,
    decimals: Option<u8>,
) -> Option<Allowance> {
    let limit = limit(reader, path, table, at, decimals);
    let rollover = match table.get("rollover") {
        None => Some(0),
        Some(value) => amount(reader, &join(path, "rollover"), value, decimals),
    };
    let resets = [("calendar", Reset::Calendar), ("anniversary", Reset::Anniversary)];
    let reset = reader.word(path, table, "reset", &resets).unwrap_or_default();
    let per = reader.needed_text(path, table, "per", at).and_then(|(word, at)| {
        let per = Per::from_word(word);
        if per.is_none() {
            let message = format!("{} is not a period; write \"day\", \"month\" or \"year\"", Quoted(word));
            reader.fault(at, &join(path, "per"), message);
        }
        per
    });
    let (limit, rollover) = (limit?, rollover?);
    if most(limit) + u128::from(rollover) > u128::from(AMOUNT_MAX) {
        reader.fault(at, path, "limit, grace and rollover together are more than can be counted; make one smaller");
    }
    Some(Allowance { limit, per: per?, reset, rollover })
}

/// The units of a period without what rolled over.
fn most(limit: Limit) -> u128 {
    match limit {
        Limit::Hard { units, grace } => u128::from(units) * (100 + u128::from(grace)) / 100,
        Limit::Soft { units } => units.into(),
        Limit::Unlimited | Limit::Prepaid => 0,
    }
}

fn limit(reader: &mut Reader<'_>, path: &str, table: &DeTable<'_>, at: usize, decimals: Option<u8>) -> Option<Limit> {
    let grace = table.get("grace");
    match (table.get("limit"), table.get("soft")) {
        (None, None) => {
            reader.fault(at, path, format!("lacks \"limit\"; write {LIMIT_SHAPE}"));
            None
        }
        (Some(_), Some(soft)) => {
            reader.fault(soft.span().start, &join(path, "soft"), "a limit is hard or soft; remove one of the two");
            None
        }
        (Some(hard), None) => {
            let units = amount(reader, &join(path, "limit"), hard, decimals);
            let grace = grace.map_or(Some(0), |grace| reader.small_number(&join(path, "grace"), grace, 100));
            Some(Limit::Hard { units: units?, grace: grace? })
        }
        (None, Some(soft)) => {
            if let Some(grace) = grace {
                let message = "a soft limit lets everything through and has no grace; remove it";
                reader.fault(grace.span().start, &join(path, "grace"), message);
            }
            amount(reader, &join(path, "soft"), soft, decimals).map(|units| Limit::Soft { units })
        }
    }
}
