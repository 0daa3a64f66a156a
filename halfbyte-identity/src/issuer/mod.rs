//! Who vouches for callers, and the keys to check his word with.

mod discovery;
mod unknown;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_core::client::Client;
use halfbyte_core::config::Preset;
use halfbyte_core::live::{self, Live, Policy};
use halfbyte_core::{BoxError, Lifecycle, Principal};
use url::Url;

pub(crate) use self::discovery::Endpoint;
use self::discovery::{Discovery, Metadata};
use self::unknown::{NoPlace, UnknownKeys};
use crate::claims::Rules;
use crate::embedded::Embedded;
use crate::error::{Error, ErrorKind};
use crate::jose::{self, Algorithm, Compact, JwkSet};

/// An issuer whose tokens are accepted.
pub(crate) struct Issuer {
    rules: Arc<Rules>,
    unknown: UnknownKeys,
    keys: Keys,
}

enum Keys {
    Embedded(Embedded),
    Remote { id: Box<str>, metadata: Live<Metadata> },
}

/// The outcome of one look at a token with the keys that are at hand.
pub(crate) enum Signature {
    /// Good, with keys of that generation.
    Good(u64),
    /// No key of that name among the keys of that generation: they may have changed since.
    UnknownKey(u64),
    /// Bad.
    Bad(jose::Error),
}

impl Issuer {
    /// The one in this process.
    pub(crate) fn embedded(embedded: Embedded, audience: &str) -> Self {
        let rules = Rules::new(embedded.issuer(), audience, Preset::Generic).of_programs();
        Self { rules: Arc::new(rules), unknown: UnknownKeys::new(), keys: Keys::Embedded(embedded) }
    }

    /// One elsewhere; its metadata and keys are fetched in the background.
    pub(crate) fn remote(
        id: &str,
        preset: Preset,
        audience: &str,
        client: Client,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let base: Url = id.parse().map_err(|error| {
            Error::new(ErrorKind::Issuer, format!("the issuer {id} is not a URL"))
                .caused_by(Box::new(error) as BoxError)
        })?;
        discovery::require_identifier(&base).map_err(|why| {
            Error::new(ErrorKind::Issuer, format!("the issuer {} {why}", base.host_str().unwrap_or_default()))
        })?;
        let policy = Policy {
            fresh_for: Duration::from_secs(300),
            max_stale: Duration::from_secs(24 * 3600),
            // As long as a request may wait here, and not as long as a slow issuer would like.
            fetch_timeout: Duration::from_secs(10),
            ..Policy::default()
        };
        let rules = Arc::new(Rules::new(id, audience, preset));
        let source = Discovery { client, id: id.into(), base, rules: rules.clone(), seen: Mutex::default() };
        let metadata = Live::start(format!("identity.keys {id}"), policy, source, lifecycle);
        Ok(Self { rules, unknown: UnknownKeys::new(), keys: Keys::Remote { id: id.into(), metadata } })
    }

    /// What its claims must be like.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn id(&self) -> &str {
        match &self.keys {
            Keys::Remote { id, .. } => id,
            Keys::Embedded(embedded) => embedded.issuer(),
        }
    }

    /// The generation of the keys at hand; `None` when there are none.
    pub(crate) fn generation(&self) -> Option<u64> {
        match &self.keys {
            Keys::Remote { metadata, .. } => metadata.load().ok().map(|metadata| metadata.generation()),
            Keys::Embedded(embedded) => embedded.state().load().ok().map(|state| state.generation()),
        }
    }

    /// Checks the signature with the keys that are at hand.
    pub(crate) fn verify(&self, token: &Compact<'_>) -> Result<Signature, live::Error> {
        Ok(match &self.keys {
            Keys::Remote { metadata, .. } => {
                let metadata = metadata.load()?;
                self.look(token, &metadata.keys, metadata.generation())
            }
            Keys::Embedded(embedded) => {
                let state = embedded.state().load()?;
                self.look(token, state.public_keys(), state.generation())
            }
        })
    }

    /// Whether the issuer is known to have revoked the token of these verified claims. One elsewhere does not tell.
    pub(crate) fn has_revoked(&self, payload: &[u8]) -> Result<bool, live::Error> {
        match &self.keys {
            Keys::Remote { .. } => Ok(false),
            Keys::Embedded(embedded) => {
                let state = embedded.state().load()?;
                Ok(jose::parse_object(payload).map_or(true, |claims| state.is_revoked(&claims)))
            }
        }
    }

    /// The same for a principal that was verified before. While the state cannot be read he counts as good.
    pub(crate) fn has_revoked_principal(&self, principal: &Principal) -> bool {
        let Keys::Embedded(embedded) = &self.keys else { return false };
        let Ok(state) = embedded.state().load() else { return false };
        principal.claims().is_ok_and(|claims: jose::Object| state.is_revoked(&claims))
    }

    /// Waits for keys where there are none yet.
    pub(crate) async fn warm(&self) -> Result<(), live::Error> {
        match &self.keys {
            Keys::Remote { metadata, .. } => metadata.ready().await,
            Keys::Embedded(embedded) => embedded.state().ready().await,
        }
    }

    /// Waits for keys that are newer than those of generation `seen`, which do not have `key_id`, or for the certainty
    /// that there are none. One fetch for all who wait, within the budget of the issuer; nobody waits for a key that was
    /// looked for just now, nor for one of very many: it is not known then whether there is such a key, and the answer
    /// is `false`.
    pub(crate) async fn look_for(&self, key_id: Option<&str>, seen: u64) -> Result<bool, live::Error> {
        let place = match self.unknown.wait_for(key_id, seen) {
            Ok(place) => place,
            Err(reason) => return Ok(reason == NoPlace::Known),
        };
        let generation = match &self.keys {
            Keys::Remote { metadata, .. } => metadata.refetch(seen).await?.generation(),
            Keys::Embedded(embedded) => {
                embedded.reread().await?;
                embedded.state().load()?.generation()
            }
        };
        if generation == seen {
            place.remember(generation);
        }
        Ok(true)
    }

    /// Where the issuer answers `endpoint`.
    pub(crate) async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, BoxError> {
        let url = match &self.keys {
            Keys::Remote { metadata, .. } => metadata.get().await?.endpoints.of(endpoint).cloned(),
            Keys::Embedded(embedded) => embedded.endpoint(endpoint)?,
        };
        url.ok_or_else(|| format!("the issuer publishes no {endpoint:?} endpoint").into())
    }

    fn look(&self, token: &Compact<'_>, keys: &JwkSet, generation: u64) -> Signature {
        match token.check(keys, &Algorithm::ASYMMETRIC) {
            Ok(key) if self.rules.may_sign(key.issuer(), &token.payload) => Signature::Good(generation),
            Ok(_) => Signature::Bad(jose::ErrorKind::NotAllowed.because("the key signs for another issuer")),
            Err(error) if error.kind() == jose::ErrorKind::UnknownKey => Signature::UnknownKey(generation),
            Err(error) => Signature::Bad(error),
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
        let client = Client::new().expect("a client");
        let issuer = Issuer::remote(&id, Preset::Generic, "parcel", client, &lifecycle).expect("an issuer");
        issuer.warm().await.expect("there");
        for (fetch, generation) in [(2, 1), (3, 2)] {
            issuer.look_for(Some(&format!("key {fetch}")), 1).await.expect("asked");
            assert_eq!((fetches.load(Ordering::SeqCst), issuer.generation()), (fetch, Some(generation)));
        }
    }
}
