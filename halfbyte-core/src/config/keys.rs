/// One key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the environment.
    pub name: &'static str,
    /// What it is when it is not set, for people.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What production takes, where it refuses the embedded default; else empty.
    pub external: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning, external: "" }
}

impl Key {
    const fn external(mut self, external: &'static str) -> Self {
        self.external = external;
        self
    }
}

/// Every `HALFBYTE_*` key there is.
#[rustfmt::skip]
pub const KEYS: [Key; 16] = [
    key("HALFBYTE_ENV",               "development",          "development | staging | production (production refuses every embedded default)"),
    key("HALFBYTE_LISTEN",            "127.0.0.1:8080",       "where clients reach the product; port 0 picks a free one"),
    key("HALFBYTE_ADMIN_LISTEN",      "127.0.0.1:9090",       "where operators reach it: /livez, /readyz, /manifest"),
    key("HALFBYTE_PUBLIC_URL",        "http://HALFBYTE_LISTEN", "the address under which clients know the product").external("the https:// address under which clients know this product"),
    key("HALFBYTE_TLS_SECRET",        "none: plain HTTP",     "the secret that holds the private key and the certificates of the public listener, as PEM; every handshake takes the current one"),
    key("HALFBYTE_HOME",              ".halfbyte",            "the folder (mode 0700) where embedded systems keep their state"),
    key("HALFBYTE_SECRETS_URL",       "local:",               "local: | env: | file:///dir | openbao://host:8200/mount/path?auth=... | aws-sm://region/prefix").external("openbao://, aws-sm://, file:///dir or env:"),
    key("HALFBYTE_IDENTITY_URL",      "embedded:",            "embedded: | [PRESET+]https://issuer/..., comma-separated for several; presets: rfc9068, keycloak, entra, auth0, cognito, okta, zitadel, kanidm").external("the https:// URL of your issuer"),
    key("HALFBYTE_IDENTITY_AUDIENCE", "the product's name",   "what `aud` of an access token must hold"),
    key("HALFBYTE_IDENTITY_CLIENT_ID", "none: opaque tokens are refused", "the product's client id at its first issuer, to introspect opaque tokens; its secret is \"identity-client-secret\""),
    key("HALFBYTE_API_KEYS_URL",      "off: (development: embedded:)", "off: | embedded: | postgres://..., where API keys are kept"),
    key("HALFBYTE_TRUSTED_PROXIES",   "none",                 "networks such as 10.0.0.0/8, comma-separated, whose Forwarded, X-Forwarded-* and Client-Cert (RFC 9440) headers are believed"),
    key("HALFBYTE_TRACE_NETWORKS",    "none (development: this machine)", "networks whose trace context is taken up; a request from elsewhere begins a trace of its own"),
    key("HALFBYTE_DPOP_NONCE",        "off",                  "off | required: whether DPoP proofs must hold a nonce of this process"),
    key("HALFBYTE_BILLING_URL",       "billing.sqlite in HALFBYTE_HOME", "sqlite:///path | postgres://..., where customers and usage are kept; products share the latter").external("postgres://... or sqlite:///absolute/path"),
    key("HALFBYTE_LAME_DUCK",         "5 (development: 0)",   "seconds between \"not ready\" and closing the listener, so that load balancers notice"),
];

/// The known name that `unknown` was most likely meant to be.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, key.name), key.name))
        .min()
        // The prefix that all have is no likeness.
        .filter(|(distance, name)| *distance <= ((name.len() - "HALFBYTE_".len()) / 2).max(1))
        .map(|(_, name)| name)
}

pub(super) fn help() -> String {
    let width = |column: fn(&Key) -> &str| KEYS.iter().map(|key| column(key).len()).max().unwrap_or(0);
    let (names, defaults) = (width(|key| key.name), width(|key| key.default));
    let line = |key: &Key| format!("{:names$}  {:defaults$}  {}\n", key.name, key.default, key.meaning);
    KEYS.iter().map(line).collect()
}
