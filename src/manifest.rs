//! What a running process is made of, for people and for comparing products.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use halfbyte_core::ProductId;
use halfbyte_core::config::{ApiKeysBackend, BillingBackend, Config, IdentityBackend, Preset, SecretsBackend};
use halfbyte_identity::access::Action;
use serde_json::{Value, json};
use url::Url;

use crate::contract::Contract;
use crate::stack;

#[derive(Debug)]
pub(crate) struct Manifest {
    fixed: Value,
    asked: Mutex<Asked>,
}

/// What the product's routes ask for.
#[derive(Debug, Default)]
struct Asked {
    scopes: BTreeSet<String>,
    actions: BTreeMap<&'static str, Action>,
    features: BTreeSet<String>,
}

impl Manifest {
    pub(crate) fn new(
        product: &ProductId,
        version: &str,
        contract: Contract,
        config: &Config,
        public_url: &Url,
    ) -> Self {
        let limits = contract.limits();
        let fixed = json!({
            "product": product.as_str(),
            "version": version,
            "halfbyte": env!("CARGO_PKG_VERSION"),
            "contract": contract.as_str(),
            "deviations": [],
            "layers": stack::ORDER,
            "limits": {
                "deadline_seconds": limits.deadline.as_secs(),
                "requests_in_flight": limits.in_flight,
                "drain_seconds": (config.lame_duck + limits.drain_in_flight + limits.drain_usage
                    + limits.drain_tasks + limits.drain_telemetry).as_secs(),
            },
            "configuration": {
                "environment": config.environment.as_str(),
                "public_url": public_url.as_str(),
                "secrets": secrets(&config.secrets),
                "identity": config.identity.iter().map(identity).collect::<Vec<_>>(),
                "audience": config.audience.as_deref().unwrap_or(product.as_str()),
                "client_id": config.client_id,
                "api_keys": api_keys(&config.api_keys),
                "trace_networks": config.trace_networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "trusted_proxies": config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "dpop_nonce": config.dpop_nonce,
                "billing": billing(&config.billing),
                "lame_duck_seconds": config.lame_duck.as_secs(),
            },
        });
        Self { fixed, asked: Mutex::default() }
    }

    pub(crate) fn add_scopes(&self, scopes: &[&str]) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).scopes.extend(scopes.iter().map(|s| (*s).to_owned()));
    }

    pub(crate) fn add_action(&self, action: Action) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).actions.insert(action.name(), action);
    }

    /// In the order of their names.
    pub(crate) fn actions(&self) -> Vec<Action> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).actions.values().copied().collect()
    }

    pub(crate) fn add_feature(&self, feature: &str) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).features.insert(feature.to_owned());
    }

    /// With `secrets`, the names of those that the product may read.
    pub(crate) fn to_json(&self, secrets: &[String]) -> Value {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut manifest = self.fixed.clone();
        manifest["scopes"] = json!(asked.scopes);
        manifest["actions"] = json!(asked.actions.keys().collect::<Vec<_>>());
        manifest["features"] = json!(asked.features);
        manifest["secrets"] = json!(secrets);
        manifest
    }
}

fn secrets(backend: &SecretsBackend) -> String {
    match backend {
        SecretsBackend::Local => "local:".into(),
        SecretsBackend::Env => "env:".into(),
        SecretsBackend::Files(folder) => format!("file://{}", folder.display()),
        // How it is asked is nobody's business, who may see the manifest.
        SecretsBackend::OpenBao(url) => format!("{}://{}{}", url.scheme(), url.authority(), url.path()),
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
