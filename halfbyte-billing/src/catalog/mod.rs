//! What can be sold: products, the meters that count, the features that are checked, the plans that grant them.

mod error;
mod parse;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use halfbyte_core::ProductId;

pub use self::error::{CatalogError, Fault};
use crate::Per;

/// The catalogue: read once, checked as a whole, shared by reference count.
///
/// ```
/// use halfbyte_billing::{Catalog, Grant, Per};
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
/// assert_eq!(starter.grant("labels"), Some(Grant::Metered { limit: 100, per: Per::Month }));
/// # Ok::<(), halfbyte_billing::CatalogError>(())
/// ```
///
/// Names of meters, features and plans have the form of a product's: a lower-case letter, then up to 62 lower-case
/// letters, digits or hyphens. Features, meters and plans are named once in a catalogue; a plan may grant features of
/// several products.
#[derive(Clone)]
pub struct Catalog(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    products: BTreeMap<Box<str>, Product>,
    meters: BTreeMap<Arc<str>, Meter>,
    features: BTreeMap<Arc<str>, Feature>,
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
    default_plan: Option<Arc<Plan>>,
}

/// A product that features and meters belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its name.
    pub id: ProductId,
    /// Its name for people; the id unless the catalogue gives one.
    pub title: Box<str>,
}

/// What use is counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name.
    pub name: Arc<str>,
    /// Whose use it counts.
    pub product: ProductId,
    /// What one of it is called.
    pub unit: Box<str>,
}

/// What a plan grants and a layer checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: Arc<str>,
    /// The product that has it.
    pub product: ProductId,
    /// The meter that counts its use; `None` for a boolean feature.
    pub meter: Option<Arc<str>>,
}

/// What customers subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// Its name for people; the name unless the catalogue gives one.
    pub title: Box<str>,
    grants: BTreeMap<Arc<str>, Grant>,
}

/// What a plan says of one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// A boolean feature that the plan has.
    Included,
    /// A metered feature with a hard limit.
    Metered {
        /// Units in a period.
        limit: u64,
        /// When it starts anew.
        per: Per,
    },
}

impl Catalog {
    /// Reads a catalogue from `text`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// Every fault at once, each with its line, the name it is about, and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, CatalogError> {
        match parse::parse(text) {
            Ok(parts) => Ok(Self(Arc::new(parts))),
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
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(error) => {
                let message = format!("the catalogue cannot be read: {error}");
                let faults = vec![Fault { line: None, name: String::new(), message }];
                Err(CatalogError { file: file.into(), faults })
            }
        }
    }

    /// The product of this name.
    pub fn product(&self, id: &str) -> Option<&Product> {
        self.0.products.get(id)
    }

    /// The meter of this name.
    pub fn meter(&self, name: &str) -> Option<&Meter> {
        self.0.meters.get(name)
    }

    /// The feature of this name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.0.features.get(name)
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.0.plans.get(name)
    }

    /// The plan of tenants that have subscribed to nothing: the one marked `default = true`, if there is one.
    pub fn default_plan(&self) -> Option<&Arc<Plan>> {
        self.0.default_plan.as_ref()
    }

    /// All products, by name.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.0.products.values()
    }

    /// All meters, by name.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.0.meters.values()
    }

    /// All features, by name.
    pub fn features(&self) -> impl Iterator<Item = &Feature> {
        self.0.features.values()
    }

    /// All plans, by name.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.0.plans.values()
    }
}

impl Plan {
    /// What the plan says of `feature`; `None` if it does not have it.
    pub fn grant(&self, feature: &str) -> Option<Grant> {
        self.grants.get(feature).copied()
    }

    /// All features that the plan has, by name.
    pub fn grants(&self) -> impl Iterator<Item = (&str, Grant)> {
        self.grants.iter().map(|(feature, grant)| (&**feature, *grant))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The known name that `unknown` was most likely meant to be.
fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
