//! Whose tokens are accepted, and with which keys.

use std::time::Duration;

use halfbyte_core::client::Client;
use halfbyte_core::live::{self, Fetched, Live, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle};
use serde::Deserialize;
use url::Url;

use crate::embedded::Embedded;
use crate::error::{Error, ErrorKind};
use crate::jose::{self, Algorithm, JwkSet, Verified};

/// An issuer whose tokens are accepted.
pub(crate) enum Issuer {
    Embedded(Embedded),
    Remote(Remote),
}

/// An OpenID Connect issuer elsewhere.
pub(crate) struct Remote {
    id: Box<str>,
    metadata: Live<Metadata>,
}

/// What an issuer publishes, as far as it is used here.
pub(crate) struct Metadata {
    keys: JwkSet,
    pub(crate) token_endpoint: Option<Url>,
}

/// The outcome of one look at a token with the keys that are at hand.
pub(crate) enum Signature {
    /// Good, with keys of that generation.
    Good(Verified, u64),
    /// No key of that name among the keys of that generation: they may have changed since.
    UnknownKey(u64),
    /// Bad.
    Bad(jose::Error),
}

impl Issuer {
    pub(crate) fn remote(id: &str, client: Client, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let base: Url = id.parse().map_err(|error| {
            Error::new(ErrorKind::Issuer, format!("the issuer {id} is not a URL"))
                .caused_by(Box::new(error) as BoxError)
        })?;
        let policy = Policy {
            fresh_for: Duration::from_secs(300),
            max_stale: Duration::from_secs(24 * 3600),
            fetch_timeout: Duration::from_secs(20),
            ..Policy::default()
        };
        let source = Discovery { client, id: id.into(), base };
        let metadata = Live::start(format!("identity.keys {id}"), policy, source, lifecycle);
        Ok(Self::Remote(Remote { id: id.into(), metadata }))
    }

    /// The issuer identifier: what `iss` must be, byte for byte.
    pub(crate) fn is(&self, iss: &str) -> bool {
        match self {
            Self::Remote(remote) => *remote.id == *iss,
            Self::Embedded(embedded) => embedded.issuer() == iss,
        }
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Remote(remote) => &remote.id,
            Self::Embedded(embedded) => embedded.issuer(),
        }
    }

    /// The generation of the keys at hand; `None` when there are none.
    pub(crate) fn generation(&self) -> Option<u64> {
        match self {
            Self::Remote(remote) => remote.metadata.load().ok().map(|metadata| metadata.generation()),
            Self::Embedded(embedded) => embedded.state().load().ok().map(|state| state.generation()),
        }
    }

    pub(crate) fn verify(&self, token: &str, allowed: &[Algorithm]) -> Result<Signature, live::Error> {
        let (verified, generation) = match self {
            Self::Remote(remote) => {
                let metadata = remote.metadata.load()?;
                (jose::verify(token, &metadata.keys, allowed), metadata.generation())
            }
            Self::Embedded(embedded) => {
                let state = embedded.state().load()?;
                (jose::verify(token, state.public_keys(), allowed), state.generation())
            }
        };
        Ok(match verified {
            Ok(verified) => Signature::Good(verified, generation),
            Err(error) if error.kind() == jose::ErrorKind::UnknownKey => Signature::UnknownKey(generation),
            Err(error) => Signature::Bad(error),
        })
    }

    /// Waits for keys where there are none yet.
    pub(crate) async fn warm(&self) -> Result<(), live::Error> {
        match self {
            Self::Remote(remote) => remote.metadata.ready().await,
            Self::Embedded(embedded) => embedded.state().ready().await,
        }
    }

    /// Asks for keys newer than those of generation `seen`, within the budget.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<(), live::Error> {
        match self {
            Self::Remote(remote) => remote.metadata.refresh(seen).await.map(drop),
            Self::Embedded(embedded) => embedded.state().refresh(seen).await.map(drop),
        }
    }

    /// Where tokens are had.
    pub(crate) async fn token_endpoint(&self) -> Result<Url, BoxError> {
        match self {
            Self::Remote(remote) => remote
                .metadata
                .get()
                .await?
                .token_endpoint
                .clone()
                .ok_or_else(|| "the issuer has no token endpoint".into()),
            Self::Embedded(embedded) => Ok(embedded.token_endpoint()?),
        }
    }
}

/// Reads the metadata (OpenID Connect Discovery 1.0) and the keys that it points to.
struct Discovery {
    client: Client,
    id: String,
    base: Url,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Url,
    token_endpoint: Option<Url>,
}

impl Source<Metadata> for Discovery {
    async fn fetch(&self) -> Result<Fetched<Metadata>, BoxError> {
        let address = format!("{}/.well-known/openid-configuration", self.id.trim_end_matches('/')).parse()?;
        let document: Document = self.client.get(address).send().await?.success()?.json()?;
        if document.issuer != self.id {
            return Err(format!("the metadata is of the issuer {:?}, not of {:?}", document.issuer, self.id).into());
        }
        for url in [Some(&document.jwks_uri), document.token_endpoint.as_ref()].into_iter().flatten() {
            self.require_as_safe(url)?;
        }
        let keys = JwkSet::parse(self.client.get(document.jwks_uri).send().await?.success()?.body())?;
        for rejected in keys.rejected() {
            let (issuer, key_id) = (self.id.as_str(), rejected.key_id.as_deref().unwrap_or_default());
            tracing::debug!(issuer, key_id, reason = rejected.reason, "a key of the issuer is not used");
        }
        if keys.keys().is_empty() {
            return Err("the issuer publishes no key that can be used".into());
        }
        Ok(Fetched::new(Metadata { keys, token_endpoint: document.token_endpoint }))
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
