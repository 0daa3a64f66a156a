//! `[features.labels]`: what plans grant and layers check.

use std::collections::HashMap;
use std::sync::Arc;

use halfbyte_core::ProductId;

use super::parse::{Entry, Section, find, owner};
use super::read::{Reader, join};
use super::{Aggregation, Fallback, Feature, FeatureKind, Meter, Product};

/// A feature as far as it is understood.
pub(super) struct Drafted {
    /// `None` when there is something wrong with it.
    pub(super) feature: Option<Arc<Feature>>,
    /// What plans may say of it, which is often known nevertheless.
    pub(super) shape: Option<Shape>,
}

/// What a plan may say of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Switch,
    Value,
    /// With the decimals of its meter, unless that is wrong.
    Metered(Option<u8>),
}

/// `owners` has the feature of each meter so far.
pub(super) fn feature(
    reader: &mut Reader<'_>,
    products: &Section<Product>,
    meters: &Section<Arc<Meter>>,
    owners: &mut HashMap<Arc<str>, Arc<str>>,
    entry: &Entry<'_, '_>,
) -> Drafted {
    reader.refuse_unknown(&entry.path, entry.table, &["product", "meter", "value", "fallback"]);
    let product = owner(reader, products, entry);
    let words = [("deny", Fallback::Deny), ("allow", Fallback::Allow)];
    let fallback = reader.word(&entry.path, entry.table, "fallback", &words).unwrap_or_default();
    let value = entry.table.get("value");
    let has_value = value.map_or(Some(false), |value| reader.flag(&join(&entry.path, "value"), value));

    let (kind, shape) = match (entry.table.get("meter"), has_value) {
        (None, None) => (None, None),
        (None, Some(true)) => (Some(FeatureKind::Value), Some(Shape::Value)),
        (None, Some(false)) => (Some(FeatureKind::Switch), Some(Shape::Switch)),
        (Some(meter), has_value) => {
            if has_value == Some(true) {
                let message = "a feature has a meter or a value, not both; remove one";
                reader.fault(meter.span().start, &join(&entry.path, "meter"), message);
            }
            let meter = its_meter(reader, meters, entry)
                .filter(|(meter, at)| may_be_used_up(reader, owners, product.as_ref(), entry, (meter, *at)));
            let decimals = meter.map(|(meter, _)| meter.decimals);
            (meter.map(|(meter, _)| FeatureKind::Metered(meter.name.clone())), Some(Shape::Metered(decimals)))
        }
    };
    let name: Arc<str> = entry.name.into();
    let feature = product.zip(kind).map(|(product, kind)| Arc::new(Feature { name, product, kind, fallback }));
    Drafted { feature, shape }
}

fn its_meter<'s>(
    reader: &mut Reader<'_>,
    meters: &'s Section<Arc<Meter>>,
    entry: &Entry<'_, '_>,
) -> Option<(&'s Arc<Meter>, usize)> {
    let (name, at) = reader.text(&entry.path, entry.table, "meter")?;
    find(reader, meters, "meter", &join(&entry.path, "meter"), name, at).map(|meter| (meter, at))
}

/// Whether the use of the feature can be counted by `meter`; a fault if not.
fn may_be_used_up(
    reader: &mut Reader<'_>,
    owners: &mut HashMap<Arc<str>, Arc<str>>,
    product: Option<&ProductId>,
    entry: &Entry<'_, '_>,
    (meter, at): (&Meter, usize),
) -> bool {
    let (name, feature) = (&meter.name, entry.name);
    let fault = if let Some(product) = product.filter(|product| **product != meter.product) {
        format!("the meter \"{name}\" counts for \"{}\"; give {product} its own", meter.product)
    } else if !matches!(meter.aggregation, Aggregation::Count | Aggregation::Sum) {
        format!("what the meter \"{name}\" measures cannot be used up; name one that counts or sums")
    } else if let Some(owner) = owners.get(name) {
        format!(
            "the meter \"{name}\" belongs to the feature \"{owner}\" already; give {feature} a meter of its own, it \
             may count the same event"
        )
    } else {
        owners.insert(name.clone(), feature.into());
        return true;
    };
    reader.fault(at, &join(&entry.path, "meter"), fault);
    false
}
