//! The sections of a catalogue, read from TOML in the order in which they refer to each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use halfbyte_core::ProductId;
use toml::de::DeTable;

use super::depth::too_deep;
use super::read::{Quoted, Reader, join};
use super::{Fault, Parts, Product, feature, meter, plan};

/// The longest text that is read, in bytes.
pub(super) const TEXT_MAX: usize = 4 << 20;

const SECTIONS: [&str; 6] = ["products", "meters", "features", "templates", "plans", "add-ons"];

/// What stands in one section, by name; `None` for what is wrong, so that who refers to it is not blamed as well.
pub(super) type Section<T> = BTreeMap<Arc<str>, Option<T>>;

/// One named table of a section: `[products.parcel]`.
pub(super) struct Entry<'t, 'a> {
    pub(super) path: String,
    pub(super) name: &'t str,
    pub(super) at: usize,
    pub(super) table: &'t DeTable<'a>,
}

pub(super) fn parse(text: &str) -> Result<Parts, Vec<Fault>> {
    let mut reader = Reader::new(text);
    if text.len() > TEXT_MAX {
        return Err(vec![Fault { line: None, name: String::new(), message: too_long() }]);
    }
    if let Some(at) = too_deep(text) {
        reader.fault(at, "", "a key here has more parts than any of a catalogue; is a quote missing?");
        return Err(reader.into_faults());
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        reader.fault(at, "", format!("not valid TOML: {}", error.message()));
    }
    // What a table that was only half understood seems to lack is not the reader's fault to mend.
    if !errors.is_empty() {
        return Err(reader.into_faults());
    }
    let parts = sections(&mut reader, document.get_ref());
    let faults = reader.into_faults();
    if faults.is_empty() { Ok(parts) } else { Err(faults) }
}

pub(super) fn too_long() -> String {
    format!("it is longer than {TEXT_MAX} bytes, the most that a catalogue can have")
}

fn sections(reader: &mut Reader<'_>, document: &DeTable<'_>) -> Parts {
    reader.refuse_unknown("", document, &SECTIONS);
    let products = section(reader, document, "products", product);
    let meters = section(reader, document, "meters", |reader, entry| meter::meter(reader, &products, entry));
    let mut owners = HashMap::new();
    let features = section(reader, document, "features", |reader, entry| {
        Some(feature::feature(reader, &products, &meters, &mut owners, entry))
    });
    let templates = section(reader, document, "templates", |reader, entry| plan::template(reader, &features, entry));
    let mut offers = plan::Offers::new(&features, &templates);
    let plans = section(reader, document, "plans", |reader, entry| offers.plan(reader, entry));
    let default = offers.default_plan();
    let add_ons = section(reader, document, "add-ons", |reader, entry| plan::add_on(reader, &features, entry));

    let plans = good(plans);
    let default_plan = default.and_then(|name| plans.get(&name).cloned());
    let features = features.into_iter().filter_map(|(name, drafted)| Some((name, drafted?.feature?))).collect();
    Parts { products: good(products), meters: good(meters), features, plans, add_ons: good(add_ons), default_plan }
}

fn good<T>(section: Section<T>) -> BTreeMap<Arc<str>, T> {
    section.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Reads each table of a section with `read`, in the order of the text.
fn section<T>(
    reader: &mut Reader<'_>,
    document: &DeTable<'_>,
    section: &str,
    mut read: impl FnMut(&mut Reader<'_>, &Entry<'_, '_>) -> Option<T>,
) -> Section<T> {
    let Some(table) = document.get(section).and_then(|value| reader.table(section, value)) else {
        return Section::new();
    };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut section_read = Section::new();
    for (key, value) in entries {
        let (name, path, at) = (&**key.get_ref(), join(section, key.get_ref()), key.span().start);
        let is_name = ProductId::new(name).is_ok();
        if !is_name {
            reader.fault(at, &path, "not a valid name; use a lower-case letter, then up to 62 of a-z, 0-9 and '-'");
        }
        let table = reader.table(&path, value);
        let entry = table.and_then(|table| read(reader, &Entry { path, name, at, table }));
        section_read.insert(name.into(), entry.filter(|_| is_name));
    }
    section_read
}

fn product(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<Product> {
    reader.refuse_unknown(&entry.path, entry.table, &["title"]);
    Some(Product { id: ProductId::new(entry.name).ok()?, title: title(reader, entry) })
}

/// The name for people: the name unless the entry gives one.
pub(super) fn title(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Box<str> {
    reader.text(&entry.path, entry.table, "title").map_or(entry.name, |(title, _)| title).into()
}

/// The product that `entry` says it belongs to.
pub(super) fn owner(reader: &mut Reader<'_>, products: &Section<Product>, entry: &Entry<'_, '_>) -> Option<ProductId> {
    let (name, at) = reader.needed_text(&entry.path, entry.table, "product", entry.at)?;
    find(reader, products, "product", &join(&entry.path, "product"), name, at).map(|product| product.id.clone())
}

/// What `name` refers to. A name that nothing has is a fault; what has it and is wrong has been told already.
pub(super) fn find<'s, T>(
    reader: &mut Reader<'_>,
    section: &'s Section<T>,
    what: &str,
    path: &str,
    name: &str,
    at: usize,
) -> Option<&'s T> {
    match section.get(name) {
        Some(found) => found.as_ref(),
        None => {
            let hint = reader.hint(name, section.keys().map(|name| &**name));
            reader.fault(at, path, format!("there is no {what} {}{hint}", Quoted(name)));
            None
        }
    }
}
