//! `[meters.labels]`: what is counted, and how.

use std::sync::Arc;

use toml::de::DeValue;

use super::parse::{Entry, Section, owner};
use super::read::{Reader, Value, join};
use super::{Aggregation, Filter, Meter, Product};

const DECIMALS_MAX: u8 = 9;
const DIMENSIONS_MAX: usize = 8;

const KEYS: [&str; 8] = ["product", "unit", "event", "aggregation", "value", "decimals", "group-by", "where"];

const AGGREGATIONS: [(&str, Aggregation); 7] = [
    ("count", Aggregation::Count),
    ("sum", Aggregation::Sum),
    ("min", Aggregation::Min),
    ("max", Aggregation::Max),
    ("latest", Aggregation::Latest),
    ("unique", Aggregation::Unique),
    ("time-weighted", Aggregation::TimeWeighted),
];

pub(super) fn meter(reader: &mut Reader<'_>, products: &Section<Product>, entry: &Entry<'_, '_>) -> Option<Arc<Meter>> {
    reader.refuse_unknown(&entry.path, entry.table, &KEYS);
    let product = owner(reader, products, entry);
    let unit = reader.text(&entry.path, entry.table, "unit").map_or("unit", |(unit, _)| unit);
    let event = reader.text(&entry.path, entry.table, "event").map(|(event, _)| Arc::from(event));
    let aggregation = match entry.table.get("aggregation") {
        None => Some(Aggregation::Sum),
        Some(_) => reader.word(&entry.path, entry.table, "aggregation", &AGGREGATIONS),
    };
    let value = value(reader, entry, aggregation);
    let decimals = decimals(reader, entry, aggregation);
    let group_by = group_by(reader, entry);
    let filters = filters(reader, entry);
    let product = product?;
    Some(Arc::new(Meter {
        name: entry.name.into(),
        unit: unit.into(),
        event: event.unwrap_or_else(|| format!("{product}.{}", entry.name).into()),
        product,
        aggregation: aggregation?,
        value,
        decimals: decimals?,
        group_by,
        filters,
    }))
}

fn value(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, aggregation: Option<Aggregation>) -> Box<str> {
    let value = reader.text(&entry.path, entry.table, "value");
    if let (Some((_, at)), Some(Aggregation::Count)) = (value, aggregation) {
        let message = "a count asks for no value; remove it, or write aggregation = \"sum\"";
        reader.fault(at, &join(&entry.path, "value"), message);
    }
    value.map_or("units", |(value, _)| value).into()
}

fn decimals(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, aggregation: Option<Aggregation>) -> Option<u8> {
    let Some(value) = entry.table.get("decimals") else {
        return Some(0);
    };
    let path = join(&entry.path, "decimals");
    let decimals = reader.small_number(&path, value, DECIMALS_MAX)?;
    if decimals > 0 && matches!(aggregation, Some(Aggregation::Count | Aggregation::Unique)) {
        reader.fault(value.span().start, &path, "what is counted one by one has no fraction; remove it");
    }
    Some(decimals)
}

fn group_by(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Box<[Box<str>]> {
    let path = join(&entry.path, "group-by");
    let list = entry.table.get("group-by");
    let members = list.and_then(|list| reader.texts(&path, list)).unwrap_or_default();
    if let (Some(list), true) = (list, members.len() > DIMENSIONS_MAX) {
        let message = format!("has {} entries; usage is kept apart by at most {DIMENSIONS_MAX}", members.len());
        reader.fault(list.span().start, &path, message);
        return Box::default();
    }
    for (index, (member, at)) in members.iter().enumerate() {
        if members[..index].iter().any(|(earlier, _)| earlier == member) {
            reader.fault(*at, &path, format!("names \"{member}\" twice; remove one"));
        }
    }
    members.into_iter().map(|(member, _)| member.into()).collect()
}

fn filters(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Box<[Filter]> {
    let path = join(&entry.path, "where");
    let table = entry.table.get("where").and_then(|value| reader.table(&path, value));
    let mut filters = Vec::new();
    for (key, value) in table.into_iter().flatten() {
        let path = join(&path, key.get_ref());
        if let Some(any_of) = any_of(reader, &path, value) {
            filters.push(Filter { property: (**key.get_ref()).into(), any_of });
        }
    }
    // By name, however the text has them: two catalogues that say the same are the same.
    filters.sort_by(|one, other| one.property.cmp(&other.property));
    filters.into()
}

fn any_of(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<Box<[Box<str>]>> {
    match value.get_ref() {
        DeValue::Array(list) if list.is_empty() => {
            reader.fault(value.span().start, path, "lets no event through; write the texts that it may be");
            None
        }
        DeValue::Array(_) => Some(reader.texts(path, value)?.into_iter().map(|(text, _)| text.into()).collect()),
        _ => reader.text_of(path, value).map(|text| Box::from([Box::from(text)])),
    }
}
