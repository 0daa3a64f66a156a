//! The environment of a process, from what the manifest says of a running one and from what was set.

use std::collections::{BTreeMap, BTreeSet};

use halfbyte_core::config::{Config, KEYS};
use serde_json::Value;
use url::Url;

use super::error::Faults;
use super::settings::Settings;
use super::words;
use crate::manifest::Manifest;

/// Those that hold an address with a password in it, where they name a database.
const DATABASES: [&str; 2] = ["HALFBYTE_BILLING_URL", "HALFBYTE_API_KEYS_URL"];
/// Those by which a process trusts: where they are in a manifest, and what is there when nothing was set; nothing is the product's name.
/// A manifest may be of somebody else, or of a place where others are trusted, so that each must be set.
const TRUSTED: [(&str, &str, Option<&str>); 5] = [
    ("HALFBYTE_SECRETS_URL", "secrets", Some("local:")),
    ("HALFBYTE_IDENTITY_URL", "identity", Some("embedded:")),
    ("HALFBYTE_IDENTITY_AUDIENCE", "audience", None),
    ("HALFBYTE_TRUSTED_PROXIES", "trusted_proxies", Some("")),
    ("HALFBYTE_TRACE_NETWORKS", "trace_networks", Some("")),
];
/// Those that the deployment decides.
const OURS: [&str; 3] = ["HALFBYTE_LISTEN", "HALFBYTE_ADMIN_LISTEN", "HALFBYTE_HOME"];
/// In place of an address that is secret, for the check of all others.
const SOME_DATABASE: &str = "postgres://database.invalid/database";

/// What a process is told.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) open: BTreeMap<String, String>,
    /// Names only.
    pub(super) secret: BTreeSet<String>,
}

impl Variables {
    pub(super) fn new(manifest: &Manifest, settings: &Settings, faults: &mut Faults) -> Self {
        let mut variables = Self::running(manifest, settings, faults);
        if let Some(host) = &settings.host {
            faults.unless(words::is_host(host), || format!("{host:?} is no host name"));
            variables.open.insert("HALFBYTE_PUBLIC_URL".to_owned(), format!("https://{host}"));
        }
        for (name, value) in &settings.variables {
            check(name, value, faults);
            variables.secret.remove(name);
            variables.open.insert(name.clone(), value.clone());
        }
        for name in &settings.secret_variables {
            let is_secret = !name.starts_with("HALFBYTE_") || DATABASES.contains(&name.as_str());
            faults.unless(words::is_variable(name) && is_secret, || {
                format!("{name:?} is no variable that holds a secret")
            });
            variables.open.remove(name);
            variables.secret.insert(name.clone());
        }
        variables
    }

    /// What may be taken from the process that the manifest is of: nothing about whom and what to trust. One in development has
    /// what a laptop has.
    fn running(manifest: &Manifest, settings: &Settings, faults: &mut Faults) -> Self {
        let mut variables = Self::default();
        let text = |name: &str| manifest.configuration.get(name).and_then(Value::as_str).unwrap_or_default();
        variables.open.insert("HALFBYTE_ENV".to_owned(), "production".to_owned());
        if text("environment") != "staging" && text("environment") != "production" {
            return variables;
        }
        let is_set = |name: &str| settings.variables.contains_key(name) || settings.secret_variables.contains(name);
        for (name, place, default) in TRUSTED {
            let default = default.unwrap_or(&manifest.product);
            let there = match manifest.configuration.get(place) {
                Some(Value::Array(items)) => items.iter().any(|item| item != default),
                Some(Value::String(text)) => text != default,
                _ => false,
            };
            faults.unless(!there || is_set(name), || {
                format!("{name}: whom and what to trust is not taken from a manifest; set it as this deployment is to have it")
            });
        }
        let has_one = text("public_url").starts_with("https:");
        faults.unless(!has_one || settings.host.is_some() || is_set("HALFBYTE_PUBLIC_URL"), || {
            "HALFBYTE_PUBLIC_URL: where clients find this deployment is not taken from a manifest; set it, or `host`".to_owned()
        });
        let switch = |name: &str| manifest.configuration.get(name).and_then(Value::as_bool).unwrap_or_default();
        let seconds = manifest.configuration.get("lame_duck_seconds").and_then(Value::as_u64);
        let unless = |default: &str, value: &str| (value != default).then(|| value.to_owned());
        let said = [
            ("HALFBYTE_TLS_SECRET", Some(text("tls_secret").to_owned())),
            ("HALFBYTE_IDENTITY_CLIENT_ID", Some(text("client_id").to_owned())),
            ("HALFBYTE_API_KEYS_URL", unless("off:", text("api_keys"))),
            ("HALFBYTE_DPOP_NONCE", switch("dpop_nonce").then(|| "required".to_owned())),
            ("HALFBYTE_BILLING_URL", Some(text("billing").to_owned()).filter(|url| !url.starts_with("sqlite: "))),
            ("HALFBYTE_LAME_DUCK", seconds.map(|seconds| seconds.to_string())),
        ];
        for (name, value) in said.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?)))
        {
            if value == "postgres:" {
                variables.secret.insert(name.to_owned());
            } else {
                check(name, &value, faults);
                variables.open.insert(name.to_owned(), value);
            }
        }
        variables
    }

    /// What the product will read of it: the same faults here and now that it would find at its start.
    pub(super) fn config(&self, faults: &mut Faults) -> Option<Config> {
        let secret = self.secret.iter().filter(|name| DATABASES.contains(&name.as_str()));
        // What cannot be told of without harm has been told of by its name alone.
        let open = self.open.iter().filter(|(name, value)| words::is_variable(name) && words::is_value(value));
        let open = open.map(|(name, value)| (name.as_str(), value.as_str()));
        match Config::parse(open.chain(secret.map(|name| (name.as_str(), SOME_DATABASE)))) {
            Ok(config) => Some(config),
            Err(error) => {
                error.faults().iter().for_each(|fault| faults.add(format!("{}: {}", fault.key, fault.message)));
                None
            }
        }
    }
}

fn check(name: &str, value: &str, faults: &mut Faults) {
    if !words::is_variable(name) {
        return faults.add(format!("{name:?} is no name of a variable: A to Z, 0 to 9 and _"));
    }
    if OURS.contains(&name) {
        return faults.add(format!("{name} is decided by the deployment: see `ports`"));
    }
    faults.unless(words::is_value(value), || {
        format!("{name}: the value is too long, or has control characters or ones that cannot be seen")
    });
    let is_ours = KEYS.iter().any(|key| key.name == name);
    if (DATABASES.contains(&name) && value.starts_with("postgres"))
        || (!is_ours && words::is_secret_by_name(name))
        || value.split(',').any(holds_a_password)
    {
        faults.add(format!("{name} holds a secret, which does not belong into a file: name it as `secret`"));
    }
}

fn holds_a_password(text: &str) -> bool {
    let is_secret = |key: &str| words::is_secret_by_name(&key.to_ascii_uppercase().replace('-', "_"));
    Url::parse(text.trim())
        .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(key, _)| is_secret(&key)))
}
