//! What files are made of, checked.

use std::collections::BTreeMap;

use halfbyte_core::ProductId;
use halfbyte_core::config::{ApiKeysBackend, BillingBackend, Config, Environment, IdentityBackend, SecretsBackend};
use halfbyte_secrets::Name;
use url::Url;

use super::error::{Faults, Undeployable};
use super::settings::Settings;
use super::variables::Variables;
use super::words;
use crate::manifest::Manifest;

/// The longest drain that is believed: an hour.
const LONGEST_DRAIN_MS: u64 = 3_600_000;
/// The longest name of a user that systemd takes.
const LONGEST_USER: usize = 31;
/// The most secrets and variables that are believed.
const MOST: usize = 256;
/// How much longer than the longest drain a supervisor waits, in seconds: for what comes before and after it, a signal that is late
/// and a process that ends, on a machine that is busy. Killed before its drain is over, a process loses what the drain is for.
const MARGIN_SECONDS: u64 = 5;
/// The secret that a client id asks for.
const CLIENT_SECRET: &str = "identity-client-secret";
/// As which variables a token for OpenBao is given.
const TOKENS: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

/// One deployment of one product. Every text in it stays in the place where it is put.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) contract: String,
    pub(super) fingerprint: String,
    /// From SIGTERM to the end of the process, at most, and a margin.
    pub(super) stop_seconds: u64,
    /// From the start to ready, at most.
    pub(super) warm_up_seconds: u64,
    pub(super) connections: u64,
    pub(super) image: String,
    pub(super) package: String,
    pub(super) binary: String,
    pub(super) features: Vec<String>,
    pub(super) build_image: String,
    pub(super) run_image: String,
    pub(super) namespace: Option<String>,
    pub(super) monitoring: String,
    pub(super) host: Option<String>,
    pub(super) replicas: (u32, u32),
    /// CPU and memory.
    pub(super) resources: (String, String),
    /// For clients and for operators.
    pub(super) ports: (u16, u16),
    pub(super) secret_object: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) ingress_annotations: BTreeMap<String, String>,
    /// The folder of the product in the context of a build, and the others that it needs.
    pub(super) sources: Option<(String, Vec<String>)>,
    /// Whether the public listener speaks TLS.
    pub(super) tls: bool,
    pub(super) variables: Variables,
    pub(super) secrets: Secrets,
}

/// How secrets reach the process.
#[derive(Debug, PartialEq)]
pub(super) enum Secrets {
    /// It keeps them itself, or asks a server for them, which knows it by itself.
    None,
    /// It asks a server that knows it by the token of its service account, which is for this audience.
    ServiceAccount(String),
    /// As variables, whose names are here with those of the secrets.
    Variables(BTreeMap<String, String>),
    /// As files in a folder, each under its name.
    Files { folder: String, names: Vec<String> },
    /// It asks a server by this method, and shows it what is in these files.
    Login { method: String, files: Vec<String> },
}

impl Secrets {
    /// Under which key of a Kubernetes Secret the value of a variable is.
    pub(super) fn key_of<'a>(&'a self, variable: &'a str) -> &'a str {
        match self {
            Secrets::Variables(names) => names.get(variable).map_or(variable, String::as_str),
            _ => variable,
        }
    }
}

/// Where it is to run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Kubernetes,
    Host,
}

impl Plan {
    /// As far as an image has to know it.
    pub(super) fn of_build(manifest: &Manifest, settings: &Settings) -> Result<Self, Undeployable> {
        let mut faults = Faults::default();
        let plan = Self::checked(manifest, settings, &mut faults);
        faults.none().map(|()| plan)
    }

    pub(super) fn of_kubernetes(manifest: &Manifest, settings: &Settings) -> Result<Self, Undeployable> {
        Self::of(manifest, settings, Place::Kubernetes)
    }

    pub(super) fn of_host(manifest: &Manifest, settings: &Settings) -> Result<Self, Undeployable> {
        Self::of(manifest, settings, Place::Host)
    }

    fn of(manifest: &Manifest, settings: &Settings, place: Place) -> Result<Self, Undeployable> {
        let mut faults = Faults::default();
        let mut plan = Self::checked(manifest, settings, &mut faults);
        faults.unless(place == Place::Kubernetes || plan.name.len() <= LONGEST_USER, || {
            format!("{:?} is longer than {LONGEST_USER} characters, the most of a user's name on a host", plan.name)
        });
        plan.variables = Variables::new(manifest, settings, &mut faults);
        if let Some(config) = plan.variables.config(&mut faults) {
            plan.stop_seconds = drain_seconds(manifest, &config, &mut faults) + MARGIN_SECONDS;
            plan.tls = config.tls_secret.is_some();
            refuse(&config, place, &mut faults);
            let names = names(manifest, &config, &mut faults);
            plan.secrets = secrets(&config, (place, settings), names, &mut plan.variables, &mut faults);
            if let BillingBackend::Sqlite(Some(path)) = &config.billing {
                let state = format!("/var/lib/{}", plan.name);
                let is_in_it = path.starts_with(&state) && words::is_folder(&path.to_string_lossy());
                faults.unless(is_in_it, || {
                    format!("HALFBYTE_BILLING_URL: the process may write below {state} alone; set it to sqlite://{state}/FILE")
                });
            }
        }
        let count = plan.variables.open.len() + plan.variables.secret.len();
        faults.unless(count <= MOST, || format!("there are more than {MOST} variables"));
        faults.none().map(|()| plan)
    }

    /// Without what runs in a place only.
    fn checked(manifest: &Manifest, settings: &Settings, faults: &mut Faults) -> Self {
        let name = &manifest.product;
        let is_name = ProductId::new(name).is_ok() && words::is_service_name(name);
        faults.unless(is_name, || format!("{name:?} is no name for a deployment: a to z, 0 to 9 and - inside"));
        let version = &manifest.version;
        faults.unless(words::is_version(version), || format!("{version:?} is no version"));
        let contract = &manifest.contract;
        faults.unless(words::is_plain(contract), || format!("{contract:?} is no version of the contract"));
        faults.unless(words::is_fingerprint(&manifest.fingerprint), || "the fingerprint is none".to_owned());
        faults.unless(manifest.secrets.len() <= MOST, || format!("there are more than {MOST} secrets"));
        for secret in manifest.secrets.iter().take(MOST).filter(|secret| Name::new(secret).is_err()) {
            faults.add(format!("{secret:?} is no name of a secret"));
        }
        let image = settings.image.clone().unwrap_or_else(|| format!("{name}:{}", version.replace('+', "-")));
        for image in [&image, &settings.build_image, &settings.run_image] {
            faults.unless(words::is_pinned_image(image), || format!("{image:?} is no image with a tag or digest"));
        }
        let package = settings.package.as_ref().unwrap_or(name);
        let binary = settings.binary.as_ref().unwrap_or(name);
        for word in [package, binary].into_iter().chain(&settings.features) {
            faults.unless(words::is_of_cargo(word), || format!("{word:?} is no name that cargo takes"));
        }
        for namespace in settings.namespace.iter().chain([&settings.monitoring]) {
            faults.unless(words::is_name(namespace), || format!("{namespace:?} is no namespace"));
        }
        let secret_object = settings.secret_object.clone().unwrap_or_else(|| format!("{name}-secrets"));
        faults.unless(words::is_host(&secret_object), || format!("{secret_object:?} is no name of a Secret"));
        for (name, value) in settings.annotations.iter().chain(&settings.ingress_annotations) {
            let is_good = words::is_annotation(name) && words::is_value(value);
            faults.unless(is_good, || format!("{name:?} is no annotation, or its value is none"));
        }
        let (min, max) = settings.replicas;
        faults.unless(1 <= min && min <= max && max <= 1000, || {
            format!("{min} to {max} replicas: from 1, and at most 1000")
        });
        for quantity in [&settings.resources.0, &settings.resources.1] {
            faults
                .unless(words::is_quantity(quantity), || format!("{quantity:?} is no quantity such as 250m or 512Mi"));
        }
        for folder in settings.sources.iter().flat_map(|(product, others)| [product].into_iter().chain(others)) {
            faults.unless(words::is_folder(&format!("/{folder}")), || {
                format!("{folder:?} is no folder of a context: a/path below it")
            });
        }
        let (public, admin) = settings.ports;
        // Below 1024 a port would take a capability, which the process does not have.
        faults.unless(public >= 1024 && admin >= 1024 && public != admin, || {
            format!("{public} and {admin}: two ports from 1024 on are needed")
        });
        let limit = |name: &str| manifest.limits.get(name).copied().unwrap_or_default();
        Self {
            name: name.clone(),
            version: version.clone(),
            contract: contract.clone(),
            fingerprint: manifest.fingerprint.clone(),
            stop_seconds: 0,
            warm_up_seconds: limit("warm_up_ms").min(LONGEST_DRAIN_MS).div_ceil(1000),
            connections: limit("connections").min(1_000_000),
            image,
            package: package.clone(),
            binary: binary.clone(),
            features: settings.features.clone(),
            build_image: settings.build_image.clone(),
            run_image: settings.run_image.clone(),
            namespace: settings.namespace.clone(),
            monitoring: settings.monitoring.clone(),
            host: settings.host.clone(),
            replicas: settings.replicas,
            resources: settings.resources.clone(),
            ports: settings.ports,
            secret_object,
            annotations: settings.annotations.clone(),
            ingress_annotations: settings.ingress_annotations.clone(),
            sources: settings.sources.clone(),
            tls: false,
            variables: Variables::default(),
            secrets: Secrets::None,
        }
    }

    /// The variables by name, with those that the deployment decides; `addresses` are those for clients and for operators.
    pub(super) fn open_variables(&self, addresses: (&str, &str), home: &str) -> BTreeMap<String, String> {
        let ours = [
            ("HALFBYTE_LISTEN", format!("{}:{}", addresses.0, self.ports.0)),
            ("HALFBYTE_ADMIN_LISTEN", format!("{}:{}", addresses.1, self.ports.1)),
            ("HALFBYTE_HOME", home.to_owned()),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.variables.open.clone().into_iter().chain(ours).collect()
    }
}

/// The manifest's longest drain, with the lame duck of this deployment in place of that of the process it is of.
fn drain_seconds(manifest: &Manifest, config: &Config, faults: &mut Faults) -> u64 {
    let said = manifest.limits.get("drain_ms").copied();
    let lame_duck = manifest.configuration.get("lame_duck_seconds").and_then(serde_json::Value::as_u64);
    let rest = said.zip(lame_duck).and_then(|(drain, duck)| drain.checked_sub(duck.checked_mul(1000)?));
    match rest {
        Some(rest) if (1..=LONGEST_DRAIN_MS).contains(&rest) => rest.div_ceil(1000) + config.lame_duck.as_secs(),
        _ => {
            faults.add("the manifest does not say how long a drain takes, or says that it takes more than an hour");
            0
        }
    }
}

/// What the process itself would not mind, and the place does.
fn refuse(config: &Config, place: Place, faults: &mut Faults) {
    if config.environment == Environment::Development {
        faults.add("HALFBYTE_ENV: a development setup is not deployed; set it to production or staging");
    }
    if place == Place::Host {
        return;
    }
    let why = "keeps its state on one machine, and Kubernetes moves processes between machines";
    if config.secrets == SecretsBackend::Local {
        faults.add(format!("HALFBYTE_SECRETS_URL: local: {why}; set it to openbao://, aws-sm://, file:///dir or env:"));
    }
    if config.identity.contains(&IdentityBackend::Embedded) {
        faults.add(format!("HALFBYTE_IDENTITY_URL: embedded: {why}; set it to the https:// URL of your issuer"));
    }
    if matches!(config.api_keys, ApiKeysBackend::Embedded) {
        faults.add(format!("HALFBYTE_API_KEYS_URL: embedded: {why}; name it as `secret`, for a postgres:// address"));
    }
    if matches!(config.billing, BillingBackend::Sqlite(_)) {
        faults.add(format!("HALFBYTE_BILLING_URL: SQLite {why}; name it as `secret`, for a postgres:// address"));
    }
}

/// The secrets that the process reads: those that it says it may, and those that its settings ask for.
fn names(manifest: &Manifest, config: &Config, faults: &mut Faults) -> Vec<String> {
    let mut names: Vec<String> = manifest.secrets.iter().take(MOST).cloned().collect();
    let asked =
        config.client_id.as_ref().map(|_| CLIENT_SECRET.to_owned()).into_iter().chain(config.tls_secret.clone());
    for name in asked {
        faults.unless(Name::new(&name).is_ok(), || format!("HALFBYTE_TLS_SECRET: {name:?} is no name of a secret"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn secrets(
    config: &Config,
    (place, settings): (Place, &Settings),
    names: Vec<String>,
    variables: &mut Variables,
    faults: &mut Faults,
) -> Secrets {
    match &config.secrets {
        SecretsBackend::Env => {
            let mut taken = BTreeMap::new();
            for name in names {
                let variable = name.to_ascii_uppercase().replace(['-', '.'], "_");
                if !words::is_variable(&variable) || variable.starts_with("HALFBYTE_") {
                    faults.add(format!(
                        "the secret {name:?} cannot be a variable; HALFBYTE_SECRETS_URL=env: takes it as one"
                    ));
                } else if variables.open.contains_key(&variable) || taken.contains_key(&variable) {
                    faults.add(format!("{variable} stands for the secret {name:?}, and for something else"));
                }
                variables.secret.insert(variable.clone());
                taken.insert(variable, name);
            }
            Secrets::Variables(taken)
        }
        SecretsBackend::Files(folder) => {
            let folder = folder.to_string_lossy().into_owned();
            faults.unless(words::is_folder(&folder), || format!("{folder:?} is no folder for secrets: /a/path"));
            Secrets::Files { folder, names }
        }
        SecretsBackend::OpenBao(url) => login(url, (place, settings), variables, faults),
        _ => Secrets::None,
    }
}

/// How the process shows OpenBao who it is, by the `auth` of the address.
fn login(url: &Url, (place, settings): (Place, &Settings), variables: &mut Variables, faults: &mut Faults) -> Secrets {
    let auth = url.query_pairs().find(|(key, _)| key == "auth").map(|(_, value)| value.into_owned());
    let Some(auth) = auth else {
        faults.add(
            "HALFBYTE_SECRETS_URL: the manifest does not tell how the server is asked; set it whole, with ?auth=...",
        );
        return Secrets::None;
    };
    let (method, rest) = auth.split_once(':').unwrap_or((&auth, ""));
    match (place, method.split('@').next().unwrap_or_default(), rest) {
        (_, "token", "") => {
            let has_one = variables.secret.iter().any(|name| TOKENS.contains(&name.as_str()));
            faults.unless(has_one, || "HALFBYTE_SECRETS_URL: says auth=token; name BAO_TOKEN as `secret`".to_owned());
            Secrets::None
        }
        (Place::Kubernetes, "kubernetes", _) => {
            let scheme = url.scheme().trim_end_matches("+http");
            let audience = settings.token_audience.as_deref().unwrap_or(scheme);
            faults.unless(!audience.is_empty() && words::is_value(audience), || {
                format!("{audience:?} is no audience of a token")
            });
            Secrets::ServiceAccount(audience.to_owned())
        }
        (Place::Kubernetes, ..) => {
            faults.add("HALFBYTE_SECRETS_URL: in Kubernetes, log in with ?auth=kubernetes:ROLE");
            Secrets::None
        }
        (Place::Host, "approle" | "token", files) => {
            let files: Vec<String> = files.split(',').map(str::to_owned).collect();
            for file in files.iter().filter(|file| !words::is_folder(file)) {
                faults.add(format!("{file:?} is no file to log in with: /a/path"));
            }
            Secrets::Login { method: method.to_owned(), files }
        }
        (Place::Host, ..) => {
            faults.add("HALFBYTE_SECRETS_URL: on a host, log in with ?auth=approle:FILE,FILE or ?auth=token:FILE");
            Secrets::None
        }
    }
}
