//! What differs between manifests, and whether it may.

use std::collections::{BTreeMap, BTreeSet};

use halfbyte::Manifest;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;

/// What products that stand side by side have alike; what else is in the configuration is each one's own.
const ALIKE: [&str; 7] =
    ["environment", "identity", "api_keys", "billing", "trusted_proxies", "trace_networks", "lame_duck_seconds"];

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub products: Vec<Product>,
    pub unreachable: Vec<Unreachable>,
    /// Lines in which not all products are alike.
    pub differences: Vec<Difference>,
    /// The versions of the contract on which fingerprints differ.
    pub torn: Vec<String>,
}

/// One that answered.
#[derive(Debug, Serialize)]
pub struct Product {
    /// Tells it from the others.
    pub label: String,
    pub url: String,
    pub product: String,
    pub version: String,
    pub contract: String,
    pub fingerprint: String,
    pub deviations: Vec<Deviation>,
}

/// A limit that a product departs from.
#[derive(Debug, Serialize)]
pub struct Deviation {
    pub clause: String,
    pub limit: String,
    pub contract: u64,
    pub value: u64,
    pub reason: String,
    pub until: String,
    /// Below 0 it has ended; none where the day cannot be read.
    pub days_left: Option<i32>,
}

/// One that did not.
#[derive(Debug, Serialize)]
pub struct Unreachable {
    pub url: String,
    pub error: String,
}

/// One thing that products have otherwise than others.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// `crate NAME`, `limit NAME`, `layers`, `configuration NAME`
    pub what: String,
    /// In the order of the products; none where one has no such thing.
    pub values: Vec<Option<String>>,
}

impl Report {
    /// `answers` by address.
    pub fn new(answers: Vec<(String, Result<Manifest, String>)>, today: Date) -> Self {
        let (mut manifests, mut unreachable) = (Vec::new(), Vec::new());
        for (url, answer) in answers {
            match answer {
                Ok(manifest) => manifests.push((url, manifest)),
                Err(error) => unreachable.push(Unreachable { url, error }),
            }
        }
        let alone = |name: &str| manifests.iter().filter(|(_, manifest)| manifest.product == name).count() == 1;
        let products: Vec<Product> = manifests
            .iter()
            .map(|(url, manifest)| {
                let name = &manifest.product;
                let label = if alone(name) { name.clone() } else { format!("{name} at {url}") };
                product(label, url, manifest, today)
            })
            .collect();
        let manifests: Vec<Manifest> = manifests.into_iter().map(|(_, manifest)| manifest).collect();
        Self { differences: differences(&manifests), torn: torn(&products), products, unreachable }
    }

    /// What the program answers.
    pub fn exit_code(&self) -> u8 {
        match (self.unreachable.is_empty(), self.torn.is_empty()) {
            (false, _) => 2,
            (true, false) => 1,
            (true, true) => 0,
        }
    }
}

fn product(label: String, url: &str, manifest: &Manifest, today: Date) -> Product {
    let deviations = manifest.deviations.iter().map(|deviation| Deviation {
        clause: deviation.clause.clone(),
        limit: deviation.limit.clone(),
        contract: deviation.contract,
        value: deviation.value,
        reason: deviation.reason.clone(),
        until: deviation.until.clone(),
        days_left: deviation.until.parse::<Date>().ok().and_then(|until| Some(today.until(until).ok()?.get_days())),
    });
    Product {
        label,
        url: url.to_owned(),
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        contract: manifest.contract.clone(),
        fingerprint: manifest.fingerprint.clone(),
        deviations: deviations.collect(),
    }
}

/// The contracts of which there is more than one fingerprint.
fn torn(products: &[Product]) -> Vec<String> {
    let mut by_contract: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for product in products {
        by_contract.entry(&product.contract).or_default().insert(&product.fingerprint);
    }
    let torn = by_contract.into_iter().filter(|(_, fingerprints)| fingerprints.len() > 1);
    torn.map(|(contract, _)| contract.to_owned()).collect()
}

fn differences(manifests: &[Manifest]) -> Vec<Difference> {
    let lines: Vec<BTreeMap<String, String>> = manifests.iter().map(lines).collect();
    let all: BTreeSet<&String> = lines.iter().flat_map(BTreeMap::keys).collect();
    let line = |what: &String| Difference {
        what: what.clone(),
        values: lines.iter().map(|lines| lines.get(what).cloned()).collect(),
    };
    all.into_iter().map(line).filter(|line| line.values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}

/// All that is compared of one.
fn lines(manifest: &Manifest) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let crates = manifest.crates.iter().map(|(name, version)| (format!("crate {name}"), version.clone()));
    let limits = manifest.limits.iter().map(|(name, value)| (format!("limit {name}"), value.to_string()));
    let configuration = ALIKE.iter().filter_map(|name| {
        let value = manifest.configuration.get(*name)?;
        Some((format!("configuration {name}"), text(value)))
    });
    let whole =
        [("contract".to_owned(), manifest.contract.clone()), ("layers".to_owned(), manifest.layers.join(" > "))];
    whole.into_iter().chain(crates).chain(limits).chain(configuration).collect()
}
