//! What an issuer elsewhere publishes: its metadata (OpenID Connect Discovery 1.0) and the keys that they point to.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use halfbyte_core::BoxError;
use halfbyte_core::client::Client;
use halfbyte_core::live::{Fetched, Source};
use serde::Deserialize;
use url::{Host, Url};

use crate::claims::Rules;
use crate::jose::JwkSet;

/// What an issuer publishes, as far as it is used here.
pub(crate) struct Metadata {
    pub(super) keys: JwkSet,
    pub(super) endpoints: Endpoints,
}

/// Where an issuer answers what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Endpoints {
    token_endpoint: Option<Url>,
    introspection_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    userinfo_endpoint: Option<Url>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token,
    Introspection,
    Revocation,
    Userinfo,
}

impl Endpoints {
    pub(super) fn of(&self, endpoint: Endpoint) -> Option<&Url> {
        match endpoint {
            Endpoint::Token => self.token_endpoint.as_ref(),
            Endpoint::Introspection => self.introspection_endpoint.as_ref(),
            Endpoint::Revocation => self.revocation_endpoint.as_ref(),
            Endpoint::Userinfo => self.userinfo_endpoint.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Url> {
        [Endpoint::Token, Endpoint::Introspection, Endpoint::Revocation, Endpoint::Userinfo]
            .into_iter()
            .filter_map(|endpoint| self.of(endpoint))
    }
}

/// Fetches the metadata and the keys of one issuer.
pub(super) struct Discovery {
    pub(super) client: Client,
    pub(super) id: String,
    pub(super) base: Url,
    pub(super) rules: Arc<Rules>,
    /// What was fetched last: the same again is no change, and what was verified with it need not be verified again.
    pub(super) seen: Mutex<Option<(Bytes, Endpoints)>>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Url,
    #[serde(flatten)]
    endpoints: Endpoints,
}

impl Source<Metadata> for Discovery {
    async fn fetch(&self) -> Result<Fetched<Metadata>, BoxError> {
        let address =
            format!("{}/.well-known/openid-configuration", self.rules.metadata_of().trim_end_matches('/')).parse()?;
        let document: Document = self.client.get(address).send().await?.success()?.json()?;
        if !self.rules.metadata_issuer_fits(&document.issuer) {
            return Err(format!("the metadata is of the issuer {:?}, not of {:?}", document.issuer, self.id).into());
        }
        for url in std::iter::once(&document.jwks_uri).chain(document.endpoints.all()) {
            self.require_as_safe(url)?;
        }
        let body = self.client.get(document.jwks_uri).send().await?.success()?.body().clone();
        let fetched = Some((body.clone(), document.endpoints.clone()));
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == fetched {
            return Ok(Fetched::unchanged());
        }
        let keys = JwkSet::parse(&body)?;
        for rejected in keys.rejected() {
            let (issuer, key_id) = (self.id.as_str(), rejected.key_id.as_deref().unwrap_or_default());
            tracing::debug!(issuer, key_id, reason = rejected.reason, "a key of the issuer is not used");
        }
        if keys.keys().is_empty() {
            return Err("the issuer publishes no key that can be used".into());
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = fetched;
        Ok(Fetched::new(Metadata { keys, endpoints: document.endpoints }))
    }
}

/// What an issuer may be called (OpenID Connect Discovery 1.0, 3). Plain http is for this machine only: who can change
/// what is fetched there can sign tokens.
pub(super) fn require_identifier(url: &Url) -> Result<(), &'static str> {
    let this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if this_machine => {}
        _ => return Err("is neither https nor plain http on this machine"),
    }
    match (url.username(), url.password(), url.query(), url.fragment()) {
        ("", None, None, None) => Ok(()),
        _ => Err("has a user name, a query or a fragment"),
    }
}

impl Discovery {
    /// Metadata must not lead from https to anything less, nor off this machine from a plain-http issuer on it.
    fn require_as_safe(&self, url: &Url) -> Result<(), BoxError> {
        let same_host = url.host() == self.base.host();
        match (url.scheme(), self.base.scheme()) {
            ("https", _) => Ok(()),
            ("http", "http") if same_host => Ok(()),
            _ => {
                Err(format!("the metadata leads to {}, which is not https", url.origin().ascii_serialization()).into())
            }
        }
    }
}
