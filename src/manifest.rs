//! What a running process is made of and needs, for people, for comparing products and for deploying them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use halfbyte_core::ProductId;
use halfbyte_core::config::{ApiKeysBackend, BillingBackend, Config, IdentityBackend, Preset, SecretsBackend};
use halfbyte_identity::access::Action;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::asks::Asks;
use crate::contract::{Contract, Limits, millis};
use crate::{deviation, stack};

/// What one build of a product links, asks for and needs, as `GET /manifest` of the admin listener shows it; see
/// [`Platform::manifest`](crate::Platform::manifest). Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The product's name.
    pub product: String,
    /// The product's version.
    pub version: String,
    /// The crates of this family, with their versions.
    pub crates: BTreeMap<String, String>,
    /// The version of the contract.
    pub contract: String,
    /// SHA-256 over all that must be identical in products on the same version of the contract, in hexadecimal digits: what the contract
    /// pins, the limits as they are here, and the versions of the crates.
    pub fingerprint: String,
    /// What the product does otherwise than the contract says.
    pub deviations: Vec<Deviation>,
    /// The layers, outermost first.
    pub layers: Vec<String>,
    /// The limits in force, by name; names in `_ms` are milliseconds. `drain_ms` is the longest that a drain takes, lame duck included.
    pub limits: BTreeMap<String, u64>,
    /// The routes that were declared with [`Routes`](crate::Routes), in the order of path and method.
    pub routes: Vec<Route>,
    /// The scopes that routes ask for.
    pub scopes: BTreeSet<String>,
    /// The actions that policies are asked for.
    pub actions: BTreeSet<String>,
    /// The features that routes ask for.
    pub features: BTreeSet<String>,
    /// The names of the secrets that the product may read.
    pub secrets: Vec<String>,
    /// The configuration without secrets.
    pub configuration: BTreeMap<String, Value>,
}

/// One limit that a product departs from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deviation {
    /// The clause of `CONTRACT.md` that does not hold.
    pub clause: String,
    /// The limit's name in [`Manifest::limits`].
    pub limit: String,
    /// What the contract says.
    pub contract: u64,
    /// What it is.
    pub value: u64,
    /// Why.
    pub reason: String,
    /// The last day on which it is in order, `YYYY-MM-DD` in UTC.
    pub until: String,
}

/// One route of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// `GET`
    pub method: String,
    /// The path with its parameters, as axum has it: `/labels/{id}`.
    pub path: String,
    /// What it asks of its callers.
    pub asks: Asks,
}

impl Route {
    #[cfg(feature = "axum")]
    pub(crate) fn new(method: &str, path: &str, asks: Asks) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), asks }
    }
}

/// What is known at the start, and what the product's routes ask for as they are made.
#[derive(Debug)]
pub(crate) struct Declared {
    fixed: Manifest,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    scopes: BTreeSet<String>,
    actions: BTreeMap<&'static str, Action>,
    features: BTreeSet<String>,
    routes: BTreeMap<(String, String), Route>,
}

impl Declared {
    pub(crate) fn new(
        product: &ProductId,
        version: &str,
        (contract, limits): (Contract, &Limits),
        deviations: &[deviation::Declared],
        config: &Config,
        public_url: &Url,
    ) -> Self {
        let crates = crates();
        let fingerprint = fingerprint(contract, limits, &crates);
        let drain = ("drain_ms", millis(config.lame_duck + limits.drain()));
        let limits = limits.each().into_iter().chain([drain]).map(|(name, value)| (name.to_owned(), value)).collect();
        let fixed = Manifest {
            product: product.as_str().to_owned(),
            version: version.to_owned(),
            crates,
            contract: contract.as_str().to_owned(),
            fingerprint,
            deviations: deviations.iter().map(|declared| declared.shown(&contract.limits())).collect(),
            layers: stack::ORDER.map(str::to_owned).into(),
            limits,
            routes: Vec::new(),
            scopes: BTreeSet::new(),
            actions: BTreeSet::new(),
            features: BTreeSet::new(),
            secrets: Vec::new(),
            configuration: configuration(product, config, public_url),
        };
        Self { fixed, asked: Mutex::default() }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_scopes(&self, scopes: &[&str]) {
        self.asked().scopes.extend(scopes.iter().map(|scope| (*scope).to_owned()));
    }

    pub(crate) fn add_action(&self, action: Action) {
        self.asked().actions.insert(action.name(), action);
    }

    pub(crate) fn add_feature(&self, feature: &str) {
        self.asked().features.insert(feature.to_owned());
    }

    #[cfg(feature = "axum")]
    pub(crate) fn add_route(&self, route: Route) {
        self.asked().routes.insert((route.path.clone(), route.method.clone()), route);
    }

    /// In the order of their names.
    pub(crate) fn actions(&self) -> Vec<Action> {
        self.asked().actions.values().copied().collect()
    }

    /// With `secrets`, the names of those that the product may read.
    pub(crate) fn manifest(&self, secrets: Vec<String>) -> Manifest {
        let asked = self.asked();
        Manifest {
            routes: asked.routes.values().cloned().collect(),
            scopes: asked.scopes.clone(),
            actions: asked.actions.keys().map(|name| (*name).to_owned()).collect(),
            features: asked.features.clone(),
            secrets,
            ..self.fixed.clone()
        }
    }
}

fn crates() -> BTreeMap<String, String> {
    [
        ("halfbyte", env!("CARGO_PKG_VERSION")),
        ("halfbyte-billing", halfbyte_billing::VERSION),
        ("halfbyte-core", halfbyte_core::VERSION),
        ("halfbyte-identity", halfbyte_identity::VERSION),
        ("halfbyte-observe", halfbyte_observe::VERSION),
        ("halfbyte-secrets", halfbyte_secrets::VERSION),
    ]
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .into()
}

fn fingerprint(contract: Contract, limits: &Limits, crates: &BTreeMap<String, String>) -> String {
    let mut text = contract.pinned();
    // Writing to a string does not fail.
    limits.each().iter().for_each(|(name, value)| _ = writeln!(text, "in force {name} {value}"));
    crates.iter().for_each(|(name, version)| _ = writeln!(text, "crate {name} {version}"));
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn configuration(product: &ProductId, config: &Config, public_url: &Url) -> BTreeMap<String, Value> {
    [
        ("environment", json!(config.environment.as_str())),
        ("public_url", json!(public_url.as_str())),
        ("tls_secret", json!(config.tls_secret)),
        ("secrets", json!(secrets(&config.secrets))),
        ("identity", json!(config.identity.iter().map(identity).collect::<Vec<_>>())),
        ("audience", json!(config.audience.as_deref().unwrap_or(product.as_str()))),
        ("client_id", json!(config.client_id)),
        ("api_keys", json!(api_keys(&config.api_keys))),
        ("trace_networks", texts(&config.trace_networks)),
        ("trusted_proxies", texts(&config.trusted_proxies)),
        ("dpop_nonce", json!(config.dpop_nonce)),
        ("billing", json!(billing(&config.billing))),
        ("lame_duck_seconds", json!(config.lame_duck.as_secs())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn texts(items: &[impl ToString]) -> Value {
    json!(items.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn secrets(backend: &SecretsBackend) -> String {
    match backend {
        SecretsBackend::Local => "local:".into(),
        SecretsBackend::Env => "env:".into(),
        SecretsBackend::Files(folder) => format!("file://{}", folder.display()),
        // How it is asked is nobody's business, who may see the manifest.
        SecretsBackend::OpenBao(url) => format!("{}://{}{}", url.scheme(), url.authority(), url.path()),
        SecretsBackend::AwsSecretsManager { region, prefix } => format!("aws-sm://{region}/{prefix}"),
        _ => "another".into(),
    }
}

fn identity(backend: &IdentityBackend) -> String {
    match backend {
        IdentityBackend::Embedded => "embedded:".into(),
        IdentityBackend::Issuer { id, preset: Preset::Generic } => id.clone(),
        IdentityBackend::Issuer { id, preset } => format!("{}+{id}", preset.as_str()),
        _ => "another".into(),
    }
}

fn api_keys(backend: &ApiKeysBackend) -> &'static str {
    match backend {
        ApiKeysBackend::Off => "off:",
        ApiKeysBackend::Embedded => "embedded:",
        ApiKeysBackend::Postgres(_) => "postgres:",
        _ => "another",
    }
}

fn billing(backend: &BillingBackend) -> String {
    match backend {
        BillingBackend::Sqlite(None) => "sqlite: in the state folder".into(),
        BillingBackend::Sqlite(Some(path)) => format!("sqlite://{}", path.display()),
        BillingBackend::Postgres(_) => "postgres:".into(),
        _ => "another".into(),
    }
}
