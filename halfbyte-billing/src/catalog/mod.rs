//! What can be sold: products, the meters that count, the features that are checked, the plans that grant them.

mod amount;
mod depth;
mod entitlement;
mod error;
mod feature;
mod file;
mod meter;
mod model;
mod parse;
mod plan;
mod read;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

pub use self::error::{CatalogError, Fault};
pub use self::model::{
    AddOn, Aggregation, Allowance, Entitlement, Fallback, Feature, FeatureKind, Filter, Limit, Meter, Plan,
    PlanVersion, Product, Reset,
};
pub use self::source::CatalogSource;
pub(crate) use self::source::{live, unusable};

/// The catalogue: read once, checked as a whole, shared by reference count.
///
/// ```
/// use halfbyte_billing::{Catalog, Entitlement};
///
/// let catalog = Catalog::parse("catalog.toml", r#"
///     [products.parcel]
///     title = "Shipping labels"
///
///     [meters.labels]
///     product = "parcel"
///     unit = "label"
///
///     [features.labels]              # metered: use of it is counted by a meter
///     product = "parcel"
///     meter = "labels"
///     [features.tracking]            # boolean: a plan has it or has it not
///     product = "parcel"
///
///     [plans.free]                   # for tenants that have subscribed to nothing
///     default = true
///     features.labels = { limit = 1, per = "day" }
///
///     [plans.starter]
///     features.labels = { limit = 100, per = "month" }
///     features.tracking = true
/// "#)?;
/// let starter = catalog.plan("starter").unwrap();
/// assert_eq!(starter.newest().entitlements["tracking"], Entitlement::Included);
/// # Ok::<(), halfbyte_billing::CatalogError>(())
/// ```
///
/// # The file
///
/// ```
/// # let catalog = halfbyte_billing::Catalog::parse("catalog.toml", r#"
/// [products.parcel]
/// title = "Shipping labels"
///
/// [meters.labels]
/// product = "parcel"
/// unit = "label"                          # for people; "unit" unless it is given
/// event = "parcel.label.bought"           # the type of the events; "parcel.labels" unless it is given
/// aggregation = "sum"                     # or count, min, max, latest, unique, time-weighted
/// value = "units"                         # which member of an event's data is summed
/// decimals = 0                            # digits after the point, up to 9
/// group-by = ["carrier"]                  # members of data that usage is kept apart by, up to 8
/// where = { carrier = "dhl", zone = ["eu", "uk"] }   # only events that have all of these are counted
///
/// [features.labels]                       # metered
/// product = "parcel"
/// meter = "labels"
/// fallback = "deny"                       # or "allow": what is decided while nothing is known
/// [features.tracking]                     # a switch
/// product = "parcel"
/// [features.seats]                        # plans give it a value
/// product = "parcel"
/// value = true
///
/// [templates.basic]                       # plans include it, and have the last word
/// features.tracking = true
///
/// [plans.starter]                         # a plan of one version
/// title = "Starter"
/// default = true                          # for tenants that have subscribed to nothing
/// include = ["basic"]
/// features.labels = { limit = 100, per = "month" }
///
/// [plans.pro]
/// title = "Pro"
/// [plans.pro.versions.1]                  # who bought it keeps it: a version never changes once it was published
/// features.labels = { limit = 1000, per = "month", grace = 10, rollover = 200 }
/// [plans.pro.versions.2]
/// include = ["basic"]
/// features.labels = { soft = 1000, per = "month", reset = "anniversary" }
/// features.seats = 5
/// [plans.partner]
/// features.labels = "prepaid"             # or "unlimited"
///
/// [add-ons.more-labels]
/// title = "500 more labels"
/// features.labels = { limit = 500, per = "month" }
/// # "#)?;
/// # assert_eq!(catalog.plan("pro").unwrap().newest().number, 2);
/// # Ok::<(), halfbyte_billing::CatalogError>(())
/// ```
///
/// All names have the form of a product's: a lower-case letter, then up to 62 lower-case letters, digits or hyphens.
/// Each is there once in its section; a plan may grant features of several products. Units are written with a point
/// where the meter has decimals (`2.5`), and read exactly. They are kept in the smallest unit: other decimals for a meter
/// change every limit on it, which published plan versions do not allow. Make a new meter instead.
///
/// # Bounds
///
/// A file has at most 4 MiB, a text at most 256 bytes, nothing more than 10,000 entries, and all versions of all plans
/// say at most 250,000 things of features. Of the faults, the first 1,000 are listed.
#[derive(Clone)]
pub struct Catalog(Arc<Contents>);

/// What was read, where from, and by what else it is looked up.
struct Contents {
    file: Box<str>,
    text: Box<str>,
    parts: Parts,
    by_event: HashMap<Arc<str>, Vec<Arc<Meter>>>,
    by_meter: HashMap<Arc<str>, Arc<Feature>>,
}

#[derive(Debug, Default)]
struct Parts {
    products: BTreeMap<Arc<str>, Product>,
    meters: BTreeMap<Arc<str>, Arc<Meter>>,
    features: BTreeMap<Arc<str>, Arc<Feature>>,
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
    add_ons: BTreeMap<Arc<str>, Arc<AddOn>>,
    default_plan: Option<Arc<Plan>>,
}

impl Catalog {
    /// Reads a catalogue from `text`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// Every fault at once, each with its line, the name it is about, and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, CatalogError> {
        match parse::parse(text) {
            Ok(parts) => Ok(Self(Arc::new(Contents::new(file, text, parts)))),
            Err(faults) => Err(CatalogError { file: file.into(), faults }),
        }
    }

    /// Reads a catalogue from the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not UTF-8, or as for [`parse`](Self::parse).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        match read_bounded(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(error) => {
                let message = format!("the catalogue cannot be read: {error}");
                let faults = vec![Fault { line: None, name: String::new(), message }];
                Err(CatalogError { file: file.into(), faults })
            }
        }
    }

    /// The file that it was read from, as it was named to the parser.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// The TOML that it was read from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The product of this name.
    pub fn product(&self, id: &str) -> Option<&Product> {
        self.0.parts.products.get(id)
    }

    /// The meter of this name.
    pub fn meter(&self, name: &str) -> Option<&Meter> {
        self.0.parts.meters.get(name).map(|meter| &**meter)
    }

    /// The feature of this name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.0.parts.features.get(name).map(|feature| &**feature)
    }

    /// The meters that count events of this CloudEvents type, by name. Does not allocate.
    pub fn meters_of_event(&self, kind: &str) -> &[Arc<Meter>] {
        self.0.by_event.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The feature whose use the meter of this name counts. Does not allocate.
    pub fn feature_of_meter(&self, name: &str) -> Option<&Feature> {
        self.0.by_meter.get(name).map(|feature| &**feature)
    }

    /// The meter that counts the use of a metered feature.
    pub(crate) fn meter_of_feature(&self, feature: &Feature) -> Option<&Meter> {
        match &feature.kind {
            FeatureKind::Metered(meter) => self.meter(meter),
            FeatureKind::Switch | FeatureKind::Value => None,
        }
    }

    /// Whether it is the very same reading of a catalogue.
    pub(crate) fn is_same(&self, other: &Catalog) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.0.parts.plans.get(name)
    }

    /// The add-on of this name.
    pub fn add_on(&self, name: &str) -> Option<&Arc<AddOn>> {
        self.0.parts.add_ons.get(name)
    }

    /// The plan of tenants that have subscribed to nothing: the one marked `default = true`, if there is one.
    pub fn default_plan(&self) -> Option<&Arc<Plan>> {
        self.0.parts.default_plan.as_ref()
    }

    /// All products, by name.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.0.parts.products.values()
    }

    /// All meters, by name.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.0.parts.meters.values().map(|meter| &**meter)
    }

    /// All features, by name.
    pub fn features(&self) -> impl Iterator<Item = &Feature> {
        self.0.parts.features.values().map(|feature| &**feature)
    }

    /// All plans, by name.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.0.parts.plans.values()
    }

    /// All add-ons, by name.
    pub fn add_ons(&self) -> impl Iterator<Item = &Arc<AddOn>> {
        self.0.parts.add_ons.values()
    }
}

impl Contents {
    fn new(file: &str, text: &str, parts: Parts) -> Self {
        let mut by_event: HashMap<_, Vec<_>> = HashMap::new();
        for meter in parts.meters.values() {
            by_event.entry(meter.event.clone()).or_default().push(meter.clone());
        }
        let mut by_meter = HashMap::new();
        for feature in parts.features.values() {
            if let FeatureKind::Metered(meter) = &feature.kind {
                by_meter.insert(meter.clone(), feature.clone());
            }
        }
        Self { file: file.into(), text: text.into(), parts, by_event, by_meter }
    }
}

/// What is in the file, as far as it is not longer than any catalogue.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(parse::TEXT_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > parse::TEXT_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, parse::too_long()));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Without its text, of which it says nothing new.
impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("file", &self.0.file).field("parts", &self.0.parts).finish()
    }
}

/// Longer than any name that somebody mistyped; comparing takes as long as both names together are wide.
const NAME_MAX: usize = 128;

/// The known name that `unknown` was most likely meant to be.
fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > NAME_MAX {
        return None;
    }
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .map(|(_, name)| name)
}

/// `; did you mean "labels"?`, or what is known, or nothing.
pub(crate) fn suggestion<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    match nearest(unknown, known.iter().copied()) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None if known.is_empty() => String::new(),
        None => format!("; known: {}", known[..known.len().min(12)].join(", ")),
    }
}
