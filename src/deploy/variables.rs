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
        let mut variables = Self::running(manifest, faults);
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

    /// As the process has it that the manifest is of. One in development has what a laptop has.
    fn running(manifest: &Manifest, faults: &mut Faults) -> Self {
        let mut variables = Self::default();
        let text = |name: &str| manifest.configuration.get(name).and_then(Value::as_str).unwrap_or_default();
        let environment = match text("environment") {
            "staging" => "staging",
            _ => "production",
        };
        variables.open.insert("HALFBYTE_ENV".to_owned(), environment.to_owned());
        if text("environment") != environment {
            return variables;
        }
        let list = |name: &str| -> String {
            let items =
                manifest.configuration.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let switch = |name: &str| manifest.configuration.get(name).and_then(Value::as_bool).unwrap_or_default();
        let seconds = manifest.configuration.get("lame_duck_seconds").and_then(Value::as_u64);
        let unless = |default: &str, value: &str| (value != default).then(|| value.to_owned());
        let said = [
            (
                "HALFBYTE_PUBLIC_URL",
                Some(text("public_url").trim_end_matches('/').to_owned()).filter(|url| url.starts_with("https:")),
            ),
            ("HALFBYTE_SECRETS_URL", unless("local:", text("secrets"))),
            ("HALFBYTE_IDENTITY_URL", unless("embedded:", &list("identity"))),
            ("HALFBYTE_IDENTITY_AUDIENCE", unless(&manifest.product, text("audience"))),
            ("HALFBYTE_IDENTITY_CLIENT_ID", Some(text("client_id").to_owned())),
            ("HALFBYTE_API_KEYS_URL", unless("off:", text("api_keys"))),
            ("HALFBYTE_TRUSTED_PROXIES", Some(list("trusted_proxies"))),
            ("HALFBYTE_TRACE_NETWORKS", Some(list("trace_networks"))),
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
    Url::parse(text.trim()).is_ok_and(|url| url.password().is_some())
}
