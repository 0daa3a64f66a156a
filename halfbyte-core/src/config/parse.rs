use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::{
    ApiKeysBackend, BillingBackend, Config, ConfigError, Environment, Fault, IdentityBackend, KEYS, Preset,
    SecretsBackend, Variables, keys,
};

const PREFIX: &str = "HALFBYTE_";

pub(super) fn parse(vars: Vec<(String, String)>, not_text: Vec<String>) -> Result<Config, ConfigError> {
    let (ours, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
        vars.into_iter().partition(|(key, _)| key.starts_with(PREFIX));
    let mut reader = Reader { ours, faults: Vec::new() };
    reader.refuse_unknown();
    for key in not_text.into_iter().filter(|key| key.starts_with(PREFIX)) {
        reader.fault(&key, "the value is not UTF-8 text");
    }

    let environment = reader.read("HALFBYTE_ENV", environment).unwrap_or_default();
    let development = environment == Environment::Development;
    let config = Config {
        environment,
        listen: reader.read("HALFBYTE_LISTEN", address).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        admin_listen: reader.read("HALFBYTE_ADMIN_LISTEN", address).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9090))),
        public_url: reader.read("HALFBYTE_PUBLIC_URL", |text| public_url(text, environment)),
        tls_secret: reader.read("HALFBYTE_TLS_SECRET", |text| Ok(text.to_owned())),
        home: reader.read("HALFBYTE_HOME", |text| Ok(PathBuf::from(text))).unwrap_or_else(|| ".halfbyte".into()),
        secrets: reader.backend(
            "HALFBYTE_SECRETS_URL",
            environment,
            |text| secrets(text, environment),
            SecretsBackend::Local,
            |backend| *backend != SecretsBackend::Local,
        ),
        identity: reader.backend(
            "HALFBYTE_IDENTITY_URL",
            environment,
            |text| identity(text, environment),
            vec![IdentityBackend::Embedded],
            |backends| !backends.contains(&IdentityBackend::Embedded),
        ),
        audience: reader.read("HALFBYTE_IDENTITY_AUDIENCE", |text| Ok(text.to_owned())),
        client_id: reader.read("HALFBYTE_IDENTITY_CLIENT_ID", |text| Ok(text.to_owned())),
        api_keys: reader.read("HALFBYTE_API_KEYS_URL", |text| api_keys(text, environment)).unwrap_or(if development {
            ApiKeysBackend::Embedded
        } else {
            ApiKeysBackend::Off
        }),
        trusted_proxies: reader.read("HALFBYTE_TRUSTED_PROXIES", networks).unwrap_or_default(),
        trace_networks: reader
            .read("HALFBYTE_TRACE_NETWORKS", networks_or_none)
            .unwrap_or_else(|| if development { loopback() } else { Vec::new() }),
        dpop_nonce: reader.read("HALFBYTE_DPOP_NONCE", switch).unwrap_or_default(),
        billing: reader.backend(
            "HALFBYTE_BILLING_URL",
            environment,
            billing,
            BillingBackend::Sqlite(None),
            |backend| !matches!(backend, BillingBackend::Sqlite(None)),
        ),
        lame_duck: reader.read("HALFBYTE_LAME_DUCK", seconds).unwrap_or(if development {
            Duration::ZERO
        } else {
            Config::LAME_DUCK
        }),
        other: Variables(other),
    };
    if environment == Environment::Production
        && config.public_url.is_none()
        && !reader.is_at_fault("HALFBYTE_PUBLIC_URL")
    {
        reader.refuse_default("HALFBYTE_PUBLIC_URL");
    }
    if config.tls_secret.is_some() && config.public_url.as_ref().is_some_and(|url| url.scheme() != "https") {
        reader.fault("HALFBYTE_PUBLIC_URL", "must be https://, since HALFBYTE_TLS_SECRET is set");
    }
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        reader.fault("HALFBYTE_ADMIN_LISTEN", "the same address as HALFBYTE_LISTEN; give it another port");
    }
    if reader.faults.is_empty() { Ok(config) } else { Err(ConfigError(reader.faults)) }
}

struct Reader {
    ours: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault { key: key.to_owned(), message: message.into() });
    }

    fn is_at_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.key == key)
    }

    fn refuse_default(&mut self, key: &str) {
        let external = KEYS.iter().find(|known| known.name == key).map_or("", |known| known.external);
        self.fault(key, format!("production refuses the default of development; set it to {external}"));
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<_> =
            self.ours.keys().filter(|name| KEYS.iter().all(|key| key.name != *name)).cloned().collect();
        for name in unknown {
            match keys::nearest(&name) {
                Some(known) => self.fault(&name, format!("there is no such key; did you mean {known}?")),
                None => self.fault(&name, "there is no such key"),
            }
        }
    }

    fn read<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key} is missing in KEYS");
        let text = self.ours.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(key, message);
                None
            }
        }
    }

    /// Reads where a system is; in production it must be said, and must be one that is not embedded.
    fn backend<T>(
        &mut self,
        key: &'static str,
        environment: Environment,
        parse: impl FnOnce(&str) -> Result<T, String>,
        embedded: T,
        external: impl FnOnce(&T) -> bool,
    ) -> T {
        let faults = self.faults.len();
        let backend = self.read(key, parse).unwrap_or(embedded);
        if environment == Environment::Production && faults == self.faults.len() && !external(&backend) {
            self.refuse_default(key);
        }
        backend
    }
}

fn environment(text: &str) -> Result<Environment, String> {
    [Environment::Development, Environment::Staging, Environment::Production]
        .into_iter()
        .find(|environment| environment.as_str() == text)
        .ok_or_else(|| format!("\"{text}\" is not one of development, staging, production"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an address and port such as 127.0.0.1:8080"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<u16>()
        .map(|seconds| Duration::from_secs(seconds.into()))
        .map_err(|_| format!("\"{text}\" is not a whole number of seconds from 0 to {}", u16::MAX))
}

/// Values of URL keys are not repeated in messages: people put passwords into URLs.
fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("not a URL: {error}"))
}

fn public_url(text: &str, environment: Environment) -> Result<Url, String> {
    let url = url(text)?;
    require_https(&url, environment)?;
    if url.path() != "/" || has_extras(&url) {
        return Err("must be scheme and host only, such as https://parcel.example.com".into());
    }
    Ok(url)
}

fn secrets(text: &str, environment: Environment) -> Result<SecretsBackend, String> {
    match text {
        "local:" => return Ok(SecretsBackend::Local),
        "env:" => return Ok(SecretsBackend::Env),
        _ => {}
    }
    let url = url(text)?;
    match url.scheme() {
        "file" if has_extras(&url) => Err("must be file:///absolute/folder and nothing after it".into()),
        "file" => url.to_file_path().map(SecretsBackend::Files).map_err(|()| "must be file:///absolute/folder".into()),
        "openbao" | "vault" => openbao(url),
        "openbao+http" | "vault+http" => {
            require_https(&url, environment)?;
            openbao(url)
        }
        "aws-sm" => aws(&url),
        other => Err(format!(
            "\"{other}\" is not a secrets backend of this version; use local:, env:, file:///dir, openbao://, vault:// or aws-sm://"
        )),
    }
}

fn openbao(url: Url) -> Result<SecretsBackend, String> {
    let example = "openbao://host:8200/mount/path?auth=kubernetes:role";
    if url.host_str().is_none_or(str::is_empty) || url.path().trim_matches('/').is_empty() || url.fragment().is_some() {
        return Err(format!("must be such as {example}"));
    }
    refuse_user(&url)?;
    Ok(SecretsBackend::OpenBao(url))
}

fn aws(url: &Url) -> Result<SecretsBackend, String> {
    match url.host_str() {
        Some(region) if !has_extras(url) && url.authority() == region && !region.is_empty() => {
            let prefix = url.path().trim_matches('/').to_owned();
            Ok(SecretsBackend::AwsSecretsManager { region: region.to_owned(), prefix })
        }
        _ => Err("must be aws-sm://region or aws-sm://region/prefix, and nothing after it".into()),
    }
}

fn identity(text: &str, environment: Environment) -> Result<Vec<IdentityBackend>, String> {
    let mut backends = Vec::new();
    for part in text.split(',').map(str::trim) {
        let backend = match part {
            "embedded:" => IdentityBackend::Embedded,
            _ => {
                let (preset, id) = match part.split_once('+') {
                    Some((name, id)) if !name.contains(':') => (preset(name)?, id),
                    _ => (Preset::Generic, part),
                };
                let url = url(id)?;
                require_https(&url, environment)?;
                if has_extras(&url) {
                    return Err("an issuer has no query and no fragment".into());
                }
                IdentityBackend::Issuer { id: id.to_owned(), preset }
            }
        };
        if backends.contains(&backend) {
            return Err("an issuer is named twice".into());
        }
        backends.push(backend);
    }
    Ok(backends)
}

fn preset(name: &str) -> Result<Preset, String> {
    let named = || Preset::ALL.into_iter().filter(|preset| *preset != Preset::Generic);
    named().find(|preset| preset.as_str() == name).ok_or_else(|| {
        let names: Vec<_> = named().map(Preset::as_str).collect();
        format!("there is no preset \"{name}\"; there are {}", names.join(", "))
    })
}

fn api_keys(text: &str, environment: Environment) -> Result<ApiKeysBackend, String> {
    match text {
        "off:" => return Ok(ApiKeysBackend::Off),
        "embedded:" if environment == Environment::Production => {
            return Err("production does not keep API keys in a file; use postgres://... or off:".into());
        }
        "embedded:" => return Ok(ApiKeysBackend::Embedded),
        _ => {}
    }
    match url(text)?.scheme() {
        "postgres" | "postgresql" => Ok(ApiKeysBackend::Postgres(text.into())),
        other => Err(format!("\"{other}\" is not where API keys can be kept; use off:, embedded: or postgres://...")),
    }
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |part: &str| match part.parse::<IpNet>() {
        Ok(network) => Ok(network),
        Err(_) => part
            .parse::<IpAddr>()
            .map(IpNet::from)
            .map_err(|_| format!("\"{part}\" is not a network such as 10.0.0.0/8 or an address")),
    };
    text.split(',').map(str::trim).map(network).collect()
}

/// As [`networks`]; `none` is how development is told to trust nobody.
fn networks_or_none(text: &str) -> Result<Vec<IpNet>, String> {
    if text == "none" { Ok(Vec::new()) } else { networks(text) }
}

/// This machine.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![v4.into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()]
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "required" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("\"{text}\" is not one of off, required")),
    }
}

fn billing(text: &str) -> Result<BillingBackend, String> {
    let url = url(text)?;
    match url.scheme() {
        "sqlite" if url.host_str().unwrap_or_default().is_empty() && url.path().len() > 1 && !has_extras(&url) => {
            let path = percent_decode_str(url.path()).decode_utf8().map_err(|_| "the path is not UTF-8 text")?;
            Ok(BillingBackend::Sqlite(Some(PathBuf::from(path.as_ref()))))
        }
        "sqlite" => Err("must be sqlite:///absolute/path and nothing after it".into()),
        "postgres" | "postgresql" => Ok(BillingBackend::Postgres(text.into())),
        other => Err(format!("\"{other}\" is not a billing backend; use sqlite:///path or postgres://...")),
    }
}

/// What would otherwise be ignored without a word.
fn has_extras(url: &Url) -> bool {
    url.query().is_some() || url.fragment().is_some()
}

/// Plain HTTP is for this machine only, and never in production: tokens and keys travel there.
fn require_https(url: &Url, environment: Environment) -> Result<(), String> {
    refuse_user(url)?;
    let loopback = is_loopback(url);
    // `openbao+http` and its like say of themselves that they are not encrypted.
    let scheme = url.scheme().rsplit('+').next().unwrap_or_default();
    match scheme {
        "https" => Ok(()),
        "http" if loopback && environment != Environment::Production => Ok(()),
        "http" if loopback => Err("production needs https".into()),
        "http" => Err("needs https; plain http is accepted for this machine (127.0.0.1, ::1, localhost) only".into()),
        other => Err(format!("\"{other}\" is not a scheme for this; use https")),
    }
}

fn refuse_user(url: &Url) -> Result<(), String> {
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err("must not hold a user name or password".into())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // With a scheme that is no standard's, an IPv4 address is a name like others.
        Some(Host::Domain(name)) => match name.parse::<Ipv4Addr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        },
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
