//! Configuration: read from the environment once, by one schema, with all errors reported together.
//!
//! [`KEYS`] lists every key; [`Config::parse`] refuses an unknown `HALFBYTE_*` key with the nearest known name.

mod error;
mod keys;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use self::error::{ConfigError, Fault};
pub use self::keys::{KEYS, Key};

/// The configuration of one process.
///
/// ```
/// use halfbyte_core::config::Config;
///
/// let error = Config::parse([("HALFBYTE_LISEN", "127.0.0.1:80")]).unwrap_err();
/// assert!(error.to_string().contains("did you mean HALFBYTE_LISTEN?"));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// How strict to be.
    pub environment: Environment,
    /// Where clients reach the product.
    pub listen: SocketAddr,
    /// Where operators reach it.
    pub admin_listen: SocketAddr,
    /// The address under which clients know the product; the listener's own unless set.
    pub public_url: Option<Url>,
    /// The secret with the key and the certificates of the public listener; without one it speaks plain HTTP.
    pub tls_secret: Option<String>,
    /// Where embedded systems keep their state.
    pub home: PathBuf,
    /// Where secrets come from.
    pub secrets: SecretsBackend,
    /// Who vouches for callers; at least one.
    pub identity: Vec<IdentityBackend>,
    /// What `aud` must hold; the product's name unless set.
    pub audience: Option<String>,
    /// The client id of the product at its issuer, by which opaque tokens are introspected; they are refused unless set.
    pub client_id: Option<String>,
    /// Where API keys are kept.
    pub api_keys: ApiKeysBackend,
    /// Proxies whose word on the client's address and certificate is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks whose trace context is taken up.
    pub trace_networks: Vec<IpNet>,
    /// Whether DPoP proofs must hold a nonce of this product's.
    pub dpop_nonce: bool,
    /// Where customers, subscriptions and usage are kept.
    pub billing: BillingBackend,
    /// How long the process stays reachable after it is told to stop.
    pub lame_duck: Duration,
    /// Everything that is not ours: `OTEL_*` as the OpenTelemetry specification has it, and the product's own.
    pub other: Variables,
}

/// How strict a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Environment {
    /// Everything has an embedded default; people read the log.
    #[default]
    Development,
    /// As production, but embedded systems may be used.
    Staging,
    /// Embedded defaults are refused.
    Production,
}

impl Environment {
    /// The name as configuration and telemetry have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// Where secrets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsBackend {
    /// `local:`, one encrypted file in the home folder.
    Local,
    /// `env:`, environment variables.
    Env,
    /// `file:///dir`, one file a secret.
    Files(PathBuf),
    /// `openbao://host:8200/mount/path` or `vault://…`, a server of OpenBao or Vault. Plain HTTP is `openbao+http://` or
    /// `vault+http://`, to this machine and never in production.
    OpenBao(Url),
    /// `aws-sm://region/prefix`, AWS Secrets Manager.
    AwsSecretsManager {
        /// The region, such as `eu-central-1`.
        region: String,
        /// What the ids of all secrets begin with, without the slash after it; empty if with nothing.
        prefix: String,
    },
}

/// Who vouches for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityBackend {
    /// `embedded:`, an issuer in this process with its keys in the home folder.
    Embedded,
    /// An OpenID Connect issuer elsewhere.
    Issuer {
        /// Its issuer identifier, exactly as it was written.
        id: String,
        /// How its claims are read.
        preset: Preset,
    },
}

impl IdentityBackend {
    /// An issuer elsewhere that no preset is for.
    pub fn issuer(id: impl Into<String>) -> Self {
        Self::Issuer { id: id.into(), preset: Preset::Generic }
    }
}

/// Whose tokens they are: makes of issuers differ in how they say tenant, roles, scopes and kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Preset {
    /// None of the others: OpenID Connect and RFC 9068 as far as the issuer follows them.
    #[default]
    Generic,
    /// RFC 9068 to the letter: `typ` must be `at+jwt`, and its required claims must be there.
    Rfc9068,
    /// Keycloak.
    Keycloak,
    /// Microsoft Entra ID.
    Entra,
    /// Auth0.
    Auth0,
    /// Amazon Cognito.
    Cognito,
    /// Okta.
    Okta,
    /// Zitadel.
    Zitadel,
    /// Kanidm.
    Kanidm,
}

impl Preset {
    /// All there are.
    pub const ALL: [Preset; 9] = [
        Preset::Generic,
        Preset::Rfc9068,
        Preset::Keycloak,
        Preset::Entra,
        Preset::Auth0,
        Preset::Cognito,
        Preset::Okta,
        Preset::Zitadel,
        Preset::Kanidm,
    ];

    /// The name as configuration has it, before a `+`: `keycloak+https://…`. The generic one has none.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Generic => "",
            Preset::Rfc9068 => "rfc9068",
            Preset::Keycloak => "keycloak",
            Preset::Entra => "entra",
            Preset::Auth0 => "auth0",
            Preset::Cognito => "cognito",
            Preset::Okta => "okta",
            Preset::Zitadel => "zitadel",
            Preset::Kanidm => "kanidm",
        }
    }
}

/// Where API keys are kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ApiKeysBackend {
    /// `off:`, API keys are no credential here.
    Off,
    /// `embedded:`, one file in the home folder.
    Embedded,
    /// `postgres://…`, a database.
    Postgres(SecretString),
}

/// Where customers, subscriptions and usage are kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BillingBackend {
    /// A SQLite file; `None` is the one in the home folder.
    Sqlite(Option<PathBuf>),
    /// `postgres://…`, a database that products and replicas share.
    Postgres(SecretString),
}

impl Config {
    /// The [lame duck](Config::lame_duck) of a product that says nothing else; in development there is none.
    pub const LAME_DUCK: Duration = Duration::from_secs(5);

    /// Reads the environment of this process.
    ///
    /// # Errors
    ///
    /// Every fault at once, each with its key and what to do.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut not_text = Vec::new();
        let vars: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(key, value)| match (key.into_string(), value.into_string()) {
                (Ok(key), Ok(value)) => Some((key, value)),
                (Ok(key), Err(_)) => {
                    not_text.push(key);
                    None
                }
                (Err(_), _) => None,
            })
            .collect();
        parse::parse(vars, not_text)
    }

    /// Reads `vars` as if they were the environment; `Config::parse([])` gives the defaults.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn parse<K: Into<String>, V: Into<String>>(
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        parse::parse(vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect(), Vec::new())
    }

    /// Every key with its default and its meaning, as a table for people.
    pub fn help() -> String {
        keys::help()
    }
}

/// Variables that are not ours. `Debug` shows names only: a value may be a secret.
#[derive(Clone, Default)]
pub struct Variables(pub(crate) BTreeMap<String, String>);

impl Variables {
    /// The value of `name`; an empty one counts as unset, as the OpenTelemetry specification has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = self.0.keys().filter(|name| name.starts_with("OTEL_"));
        f.debug_set().entries(ours).finish_non_exhaustive()
    }
}
