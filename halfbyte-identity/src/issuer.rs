//! Whose tokens are accepted, and with which keys.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use halfbyte_core::client::Client;
use halfbyte_core::live::{self, Fetched, Live, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle};
use serde::Deserialize;
use url::{Host, Url};

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
    endpoints: Endpoints,
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
    fn of(&self, endpoint: Endpoint) -> Option<&Url> {
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
        require_identifier(&base).map_err(|why| {
            Error::new(ErrorKind::Issuer, format!("the issuer {} {why}", base.host_str().unwrap_or_default()))
        })?;
        let policy = Policy {
            fresh_for: Duration::from_secs(300),
            max_stale: Duration::from_secs(24 * 3600),
            fetch_timeout: Duration::from_secs(20),
            ..Policy::default()
        };
        let source = Discovery { client, id: id.into(), base, seen: Mutex::default() };
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

    /// Asks for keys newer than those of generation `seen`, within the budget of an issuer elsewhere.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<(), live::Error> {
        match self {
            Self::Remote(remote) => remote.metadata.refresh(seen).await.map(drop),
            Self::Embedded(embedded) => embedded.reread().await,
        }
    }

    /// Where the issuer answers `endpoint`.
    pub(crate) async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, BoxError> {
        let url = match self {
            Self::Remote(remote) => remote.metadata.get().await?.endpoints.of(endpoint).cloned(),
            Self::Embedded(embedded) => embedded.endpoint(endpoint)?,
        };
        url.ok_or_else(|| format!("the issuer publishes no {endpoint:?} endpoint").into())
    }
}

/// Reads the metadata (OpenID Connect Discovery 1.0) and the keys that it points to.
struct Discovery {
    client: Client,
    id: String,
    base: Url,
    /// What was fetched last: the same again is no change, and what was verified with it need not be verified again.
    seen: Mutex<Option<(Bytes, Endpoints)>>,
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
        let address = format!("{}/.well-known/openid-configuration", self.id.trim_end_matches('/')).parse()?;
        let document: Document = self.client.get(address).send().await?.success()?.json()?;
        if document.issuer != self.id {
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
fn require_identifier(url: &Url) -> Result<(), &'static str> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;
    use halfbyte_core::Clock;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[tokio::test]
    async fn keys_that_are_fetched_again_and_are_the_same_are_no_new_generation() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let id = format!("http://{}", listener.local_addr().expect("an address"));
        let metadata = format!(r#"{{"issuer":"{id}","jwks_uri":"{id}/keys"}}"#);
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        let keys = async move || {
            let fetched = counted.fetch_add(1, Ordering::SeqCst);
            // The third time they are others.
            KEY.replace("11q", if fetched < 2 { "11q" } else { "12q" })
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || metadata))
            .route("/keys", get(keys));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });

        let lifecycle = Lifecycle::new(Clock::system());
        let issuer = Issuer::remote(&id, Client::new().expect("a client"), &lifecycle).expect("an issuer");
        issuer.warm().await.expect("there");
        for (fetch, generation) in [(2, 1), (3, 2)] {
            tokio::time::sleep(Duration::from_millis(1_050)).await;
            issuer.refresh(u64::MAX).await.expect("asked");
            assert_eq!((fetches.load(Ordering::SeqCst), issuer.generation()), (fetch, Some(generation)));
        }
    }
}
