//! What a catalogue holds, read from TOML; every fault is kept and reported with the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use halfbyte_core::ProductId;
use toml::de::{DeTable, DeValue};

use super::read::{Reader, Value, describe, join};
use super::{Fault, Feature, Grant, Meter, Parts, Plan, Product, suggestion};
use crate::Per;

const LIMIT_SHAPE: &str = "{ limit = 100, per = \"month\" }";

pub(super) fn parse(text: &str) -> Result<Parts, Vec<Fault>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text);
    for error in &errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        reader.fault(at, "", format!("not valid TOML: {}", error.message()));
    }
    // What a table that was only half understood seems to lack is not the reader's fault to mend.
    if !errors.is_empty() {
        return Err(reader.into_faults());
    }

    let document = document.into_inner();
    reader.refuse_unknown("", &document, &["products", "meters", "features", "plans"]);
    let mut parts = Parts::default();
    for entry in entries(&mut reader, &document, "products") {
        product(&mut reader, &mut parts, &entry);
    }
    for entry in entries(&mut reader, &document, "meters") {
        meter(&mut reader, &mut parts, &entry);
    }
    for entry in entries(&mut reader, &document, "features") {
        feature(&mut reader, &mut parts, &entry);
    }
    for entry in entries(&mut reader, &document, "plans") {
        plan(&mut reader, &mut parts, &entry);
    }
    let faults = reader.into_faults();
    if faults.is_empty() { Ok(parts) } else { Err(faults) }
}

/// One named table of a section: `[products.parcel]`.
struct Entry<'t, 'a> {
    path: String,
    name: &'t str,
    /// `None` when the name does not have the form of one; the table is still checked.
    id: Option<ProductId>,
    at: usize,
    table: &'t DeTable<'a>,
}

fn entries<'t, 'a>(reader: &mut Reader<'_>, document: &'t DeTable<'a>, section: &str) -> Vec<Entry<'t, 'a>> {
    let Some(table) = document.get(section).and_then(|value| reader.table(section, value)) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (key, value) in table {
        let (name, path, at) = (&**key.get_ref(), join(section, key.get_ref()), key.span().start);
        let id = ProductId::new(name);
        if id.is_err() {
            reader.fault(at, &path, "not a valid name; use a lower-case letter, then up to 62 of a-z, 0-9 and '-'");
        }
        if let Some(table) = reader.table(&path, value) {
            entries.push(Entry { path, name, id: id.ok(), at, table });
        }
    }
    entries
}

fn product(reader: &mut Reader<'_>, parts: &mut Parts, entry: &Entry<'_, '_>) {
    reader.refuse_unknown(&entry.path, entry.table, &["title"]);
    let title = reader.text(&entry.path, entry.table, "title").map_or(entry.name, |(title, _)| title);
    if let Some(id) = entry.id.clone() {
        parts.products.insert(entry.name.into(), Product { id, title: title.into() });
    }
}

fn meter(reader: &mut Reader<'_>, parts: &mut Parts, entry: &Entry<'_, '_>) {
    reader.refuse_unknown(&entry.path, entry.table, &["product", "unit"]);
    let product = owner(reader, parts, entry);
    let unit = reader.text(&entry.path, entry.table, "unit").map_or("unit", |(unit, _)| unit);
    if let Some(product) = product {
        let name: Arc<str> = entry.name.into();
        parts.meters.insert(name.clone(), Meter { name, product, unit: unit.into() });
    }
}

fn feature(reader: &mut Reader<'_>, parts: &mut Parts, entry: &Entry<'_, '_>) {
    reader.refuse_unknown(&entry.path, entry.table, &["product", "meter"]);
    let product = owner(reader, parts, entry);
    let meter = reader.text(&entry.path, entry.table, "meter").and_then(|(name, at)| {
        let path = join(&entry.path, "meter");
        match (parts.meters.get(name), &product) {
            (None, _) => {
                let hint = suggestion(name, parts.meters.keys().map(|name| &**name));
                reader.fault(at, &path, format!("there is no meter \"{name}\"{hint}"));
                None
            }
            (Some(meter), Some(product)) if meter.product != *product => {
                let owner = &meter.product;
                reader.fault(at, &path, format!("the meter \"{name}\" counts for \"{owner}\"; give {product} its own"));
                None
            }
            (Some(meter), _) => Some(meter.name.clone()),
        }
    });
    if let Some(product) = product {
        // A feature whose meter is wrong is kept as a metered one, so that plans are not blamed for it.
        let meter = meter.or_else(|| entry.table.get("meter").map(|_| entry.name.into()));
        let name: Arc<str> = entry.name.into();
        parts.features.insert(name.clone(), Feature { name, product, meter });
    }
}

/// The product that `entry` says it belongs to. One that is not known is a fault, and stands in for itself.
fn owner(reader: &mut Reader<'_>, parts: &Parts, entry: &Entry<'_, '_>) -> Option<ProductId> {
    let (name, at) = reader.needed_text(&entry.path, entry.table, "product", entry.at)?;
    if let Some(product) = parts.products.get(name) {
        return Some(product.id.clone());
    }
    let hint = suggestion(name, parts.products.keys().map(|name| &**name));
    reader.fault(at, &join(&entry.path, "product"), format!("there is no product \"{name}\"{hint}"));
    ProductId::new(name).ok()
}

fn plan(reader: &mut Reader<'_>, parts: &mut Parts, entry: &Entry<'_, '_>) {
    reader.refuse_unknown(&entry.path, entry.table, &["title", "default", "features"]);
    let default = entry.table.get("default").is_some_and(|value| flag(reader, &join(&entry.path, "default"), value));
    let title = reader.text(&entry.path, entry.table, "title").map_or(entry.name, |(title, _)| title);
    let path = join(&entry.path, "features");
    let features = entry.table.get("features").and_then(|value| reader.table(&path, value));
    let mut grants = BTreeMap::new();
    for (key, value) in features.into_iter().flatten() {
        let (name, path) = (&**key.get_ref(), join(&path, key.get_ref()));
        let Some(feature) = parts.features.get(name) else {
            let hint = suggestion(name, parts.features.keys().map(|name| &**name));
            reader.fault(key.span().start, &path, format!("there is no feature \"{name}\"{hint}"));
            continue;
        };
        let granted = match feature.meter {
            Some(_) => metered(reader, &path, value),
            None => boolean(reader, &path, value),
        };
        if let Some(grant) = granted {
            grants.insert(feature.name.clone(), grant);
        }
    }
    let name: Arc<str> = entry.name.into();
    let plan = Plan { name: name.clone(), title: title.into(), grants };
    let plan = Arc::new(plan);
    if default && let Some(first) = parts.default_plan.replace(plan.clone()) {
        let message = format!("the plan \"{}\" is the default already; only one can be", first.name);
        reader.fault(entry.at, &join(&entry.path, "default"), message);
    }
    parts.plans.insert(name, plan);
}

fn flag(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> bool {
    if let DeValue::Boolean(flag) = value.get_ref() {
        return *flag;
    }
    reader.fault(value.span().start, path, format!("must be true or false, not {}", describe(value.get_ref())));
    false
}

fn boolean(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<Grant> {
    match value.get_ref() {
        DeValue::Table(_) => {
            let message = "the feature has no meter and can have no limit; write true, or give the feature a meter";
            reader.fault(value.span().start, path, message);
            None
        }
        _ => flag(reader, path, value).then_some(Grant::Included),
    }
}

fn metered(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<Grant> {
    let at = value.span().start;
    let DeValue::Table(table) = value.get_ref() else {
        if value.get_ref().as_bool() != Some(false) {
            let message = format!("the feature is metered and needs a limit; write {LIMIT_SHAPE}");
            reader.fault(at, path, message);
        }
        return None;
    };
    reader.refuse_unknown(path, table, &["limit", "per"]);
    let limit = match table.get("limit") {
        None => {
            reader.fault(at, path, format!("lacks \"limit\"; write {LIMIT_SHAPE}"));
            None
        }
        Some(limit) => whole_number(reader, &join(path, "limit"), limit),
    };
    let per = reader.needed_text(path, table, "per", at).and_then(|(word, at)| {
        let per = Per::from_word(word);
        if per.is_none() {
            let message = format!("\"{word}\" is not a period; write \"day\" or \"month\"");
            reader.fault(at, &join(path, "per"), message);
        }
        per
    });
    Some(Grant::Metered { limit: limit?, per: per? })
}

/// A number of units: what TOML and the store can hold, and not negative.
fn whole_number(reader: &mut Reader<'_>, path: &str, value: &Value<'_>) -> Option<u64> {
    let number = match value.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    let units = number.and_then(|number| u64::try_from(number).ok());
    if units.is_none() {
        reader.fault(value.span().start, path, "must be a whole number from 0 to 9223372036854775807");
    }
    units
}

#[cfg(test)]
mod tests {
    use crate::{Catalog, Grant, Per};

    const GOOD: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.booking]
product = "parcel"
"#;

    fn refused(text: &str) -> String {
        Catalog::parse("plans.toml", text).expect_err(text).to_string()
    }

    #[test]
    fn each_fault_is_told_with_line_name_and_what_to_do() {
        for (tail, expected) in [
            (
                "[plans.a]\nfeatures.lables = true",
                "plans.toml:11: plans.a.features.lables: there is no feature \"lables\"; did you mean \"labels\"?",
            ),
            (
                "[plans.a]\nfeatures.labels = true",
                "plans.toml:11: plans.a.features.labels: the feature is metered and needs a limit; write { limit = 100, per = \"month\" }",
            ),
            (
                "[plans.a]\nfeatures.booking = { limit = 3, per = \"day\" }",
                "plans.toml:11: plans.a.features.booking: the feature has no meter and can have no limit; write true, or give the feature a meter",
            ),
            (
                "[plans.a]\ndefault = true\n[plans.b]\ndefault = true",
                "plans.toml:12: plans.b.default: the plan \"a\" is the default already; only one can be",
            ),
            ("[plans.a]\ndefault = 1", "plans.toml:11: plans.a.default: must be true or false, not a number"),
            (
                "[plans.a]\nfeatures.booking = \"yes\"",
                "plans.toml:11: plans.a.features.booking: must be true or false, not a text",
            ),
            (
                "[plans.a]\nfeatures.labels = { limit = -1, per = \"day\" }",
                "plans.toml:11: plans.a.features.labels.limit: must be a whole number from 0 to 9223372036854775807",
            ),
            (
                "[plans.a]\nfeatures.labels = { limit = 1.5, per = \"day\" }",
                "plans.toml:11: plans.a.features.labels.limit: must be a whole number from 0 to 9223372036854775807",
            ),
            (
                "[plans.a]\nfeatures.labels = { limit = 1, per = \"week\" }",
                "plans.toml:11: plans.a.features.labels.per: \"week\" is not a period; write \"day\" or \"month\"",
            ),
            (
                "[plans.a]\nfeatures.labels = { limit = 1 }",
                "plans.toml:11: plans.a.features.labels: lacks \"per\"; add per = \"...\"",
            ),
            (
                "[plans.a]\nfeatures.labels = { per = \"day\" }",
                "plans.toml:11: plans.a.features.labels: lacks \"limit\"; write { limit = 100, per = \"month\" }",
            ),
            (
                "[plans.a]\nfeatures.labels = { limit = 1, per = \"day\", soft = true }",
                "plans.toml:11: plans.a.features.labels.soft: there is no such key; known: limit, per",
            ),
            (
                "[plans.Big]",
                "plans.toml:10: plans.Big: not a valid name; use a lower-case letter, then up to 62 of a-z, 0-9 and '-'",
            ),
            ("[plans.a]\nfeatures = 3", "plans.toml:11: plans.a.features: must be a table, not a number"),
            (
                "[meters.m]\nproduct = \"parzel\"",
                "plans.toml:11: meters.m.product: there is no product \"parzel\"; did you mean \"parcel\"?",
            ),
            ("[meters.m]", "plans.toml:10: meters.m: lacks \"product\"; add product = \"...\""),
            (
                "[features.f]\nproduct = \"parcel\"\nmeter = \"label\"",
                "plans.toml:12: features.f.meter: there is no meter \"label\"; did you mean \"labels\"?",
            ),
            (
                "[products.clinic]\n[features.f]\nproduct = \"clinic\"\nmeter = \"labels\"",
                "plans.toml:13: features.f.meter: the meter \"labels\" counts for \"parcel\"; give clinic its own",
            ),
            ("[feature.f]", "plans.toml:10: feature: there is no such key; did you mean \"features\"?"),
            (
                "[products.clinic]\ntitel = \"x\"",
                "plans.toml:11: products.clinic.titel: there is no such key; did you mean \"title\"?",
            ),
        ] {
            assert_eq!(refused(&format!("{GOOD}{tail}\n")), expected);
        }
    }

    #[test]
    fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
        let text = format!("{GOOD}[plans.a]\nfeatures.lables = true\nfeatures.bookin = true\n[plans.B]\ncolour = 3\n");
        let error = Catalog::parse("plans.toml", &text).expect_err("it has four faults");
        let lines: Vec<_> = error.faults().iter().filter_map(|fault| fault.line).collect();
        assert_eq!(lines, [11, 12, 13, 14], "{error}");
    }

    #[test]
    fn a_wrong_meter_is_one_fault_and_not_one_for_each_plan() {
        let text = "[products.p]\n[features.f]\nproduct = \"p\"\nmeter = \"m\"\n\
                    [plans.a]\nfeatures.f = { limit = 1, per = \"day\" }\n";
        assert_eq!(refused(text).lines().count(), 1, "{}", refused(text));
    }

    #[test]
    fn faults_of_syntax_are_told_with_their_line() {
        let message = refused("[products.parcel]\ntitle = \n[meters\n");
        assert!(message.starts_with("plans.toml:2: not valid TOML: "), "{message}");
        assert!(message.contains("plans.toml:3: "), "{message}");
        assert!(refused("[products.parcel]\n[products.parcel]\n").starts_with("plans.toml:2: "));
    }

    #[test]
    fn a_feature_can_be_written_off_with_false_and_is_then_not_in_the_plan() {
        let text = format!("{GOOD}[plans.a]\nfeatures = {{ labels = false, booking = false }}\n");
        let catalog = Catalog::parse("plans.toml", &text).expect("it is good");
        assert_eq!(catalog.plan("a").expect("there").grants().count(), 0);
    }

    #[test]
    fn a_good_catalogue_is_read_as_it_is_written() {
        let text = format!("{GOOD}[plans.a]\ntitle = \"A\"\nfeatures.labels = {{ limit = 0x10, per = \"day\" }}\n");
        let catalog = Catalog::parse("plans.toml", &text).expect("it is good");
        let plan = catalog.plan("a").expect("there");
        assert_eq!((&*plan.title, plan.grant("labels")), ("A", Some(Grant::Metered { limit: 16, per: Per::Day })));
        assert_eq!(plan.grant("booking"), None);
        assert_eq!(catalog.meter("labels").map(|meter| &*meter.unit), Some("unit"));
        assert_eq!(Catalog::parse("empty.toml", "").expect("nothing is wrong with it").plans().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = Catalog::read("/nowhere/plans.toml").expect_err("it is not there");
        assert!(error.to_string().starts_with("/nowhere/plans.toml: the catalogue cannot be read: "), "{error}");
    }
}
