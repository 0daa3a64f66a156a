use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use halfbyte_core::client::Request;
use halfbyte_core::live::{self, Fetched, Live, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle};

use super::grant::{Granted, Target};
use super::{AccessToken, Registration};

/// A live access token of this product's own, from [`OAuthClient::tokens`](super::OAuthClient::tokens) or
/// [`Identity::tokens`](crate::Identity::tokens). Cheap to clone.
///
/// ```no_run
/// # async fn example(identity: &halfbyte_identity::Identity) -> Result<(), halfbyte_core::BoxError> {
/// # use halfbyte_core::client::Client;
/// let tokens = identity.tokens("parcel", || Ok("from your secret store".into()), "clinic", &["labels:read"]);
/// let request = Client::new()?.get("https://clinic.example.com/labels".parse()?);
/// let answer = tokens.authorize(request).await?.send().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TokenSource(Live<AccessToken>);

impl TokenSource {
    pub(super) fn start(registration: Arc<Registration>, target: Target, lifecycle: &Lifecycle) -> Self {
        let policy = Policy {
            // A token is used until it expires and not longer; `fetch` says when that is.
            max_stale: Duration::ZERO,
            jitter: 0.3,
            lazy: true,
            // Without it this product can still answer: another one's absence must not take it out of rotation.
            required: false,
            ..Policy::default()
        };
        let name = format!("identity.token {} for {}", registration.client_id(), target.audience());
        Self(Live::start(name, policy, Grant { registration, target }, lifecycle))
    }

    /// Adds the token to `request`; fetches one first where there is none. Cancel safe.
    ///
    /// # Errors
    ///
    /// No token is to be had.
    pub async fn authorize(&self, request: Request) -> Result<Request, live::Error> {
        Ok(self.token().await?.authorize(request))
    }

    /// The token as it is now; fetches one first where there is none. Ask for each call anew, as it changes. Cancel safe.
    ///
    /// # Errors
    ///
    /// No token is to be had.
    pub async fn token(&self) -> Result<AccessToken, live::Error> {
        self.current().await.map(|(token, _)| token)
    }

    /// Fetches another token in place of the one at hand; for when it was answered with 401. At most one fetch a second.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// No other token is to be had.
    pub async fn renew(&self) -> Result<(), live::Error> {
        let seen = self.0.status().generation;
        self.0.refresh(seen).await.map(drop)
    }

    /// The token and its generation.
    pub(super) async fn current(&self) -> Result<(AccessToken, u64), live::Error> {
        let token = self.0.get().await?;
        Ok((token.clone(), token.generation()))
    }

    /// A token newer than that of generation `seen`, which was answered with 401; `None` when there is none to be had now.
    pub(super) async fn newer_than(&self, seen: u64) -> Option<AccessToken> {
        let token = self.0.refresh(seen).await.ok()?;
        (token.generation() > seen).then(|| token.clone())
    }

    /// Has the token of generation `seen` renewed, and does not wait for it.
    pub(super) fn distrust(&self, seen: u64) {
        // One poll makes the demand; the fetch is the task's.
        let _under_way = self.0.refresh(seen).now_or_never();
    }
}

struct Grant {
    registration: Arc<Registration>,
    target: Target,
}

impl Source<AccessToken> for Grant {
    async fn fetch(&self) -> Result<Fetched<AccessToken>, BoxError> {
        let Granted { token, lasts } = self.registration.client_credentials(&self.target).await?;
        Ok(Fetched::new(token).fresh_for(lasts))
    }
}
