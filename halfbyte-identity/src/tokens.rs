//! Access tokens of the product's own, for calling others.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halfbyte_core::client::{Client, Request};
use halfbyte_core::live::{self, Fetched, Live, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle};
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use crate::authenticator::Authenticator;
use crate::issuer::Endpoint;

/// A live access token of this product, from [`Identity::tokens`](crate::Identity::tokens). Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenSource(Live<SecretString>);

impl TokenSource {
    pub(crate) fn start(
        issuers: Authenticator,
        client: Client,
        credentials: Credentials,
        lifecycle: &Lifecycle,
    ) -> Self {
        let policy = Policy {
            // A token is used until it expires and not longer; `fetch` says when that is.
            max_stale: Duration::ZERO,
            jitter: 0.3,
            lazy: true,
            // Without it this product can still answer: another one's absence must not take it out of rotation.
            required: false,
            ..Policy::default()
        };
        let name = format!("identity.token {} for {}", credentials.client_id, credentials.audience);
        Self(Live::start(name, policy, Grant { issuers, client, credentials }, lifecycle))
    }

    /// Adds the token to `request`; fetches one first where there is none. Cancel safe.
    ///
    /// # Errors
    ///
    /// No token is to be had.
    pub async fn authorize(&self, request: Request) -> Result<Request, live::Error> {
        Ok(request.bearer(&*self.0.get().await?))
    }

    /// Drops the token at hand and fetches another; for when it was answered with 401. Cancel safe.
    ///
    /// # Errors
    ///
    /// No other token is to be had.
    pub async fn renew(&self) -> Result<(), live::Error> {
        let seen = self.0.status().generation;
        self.0.refresh(seen).await.map(drop)
    }
}

type SecretFn = Box<dyn Fn() -> Result<SecretString, BoxError> + Send + Sync>;

pub(crate) struct Credentials {
    client_id: Box<str>,
    secret: SecretFn,
    audience: Box<str>,
    scope: Box<str>,
}

impl Credentials {
    pub(crate) fn new(
        client_id: &str,
        secret: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static,
        audience: &str,
        scopes: &[&str],
    ) -> Self {
        Self {
            client_id: client_id.into(),
            secret: Box::new(secret),
            audience: audience.into(),
            scope: scopes.join(" ").into(),
        }
    }

    /// RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
    fn basic(&self) -> Result<String, BoxError> {
        let secret = (self.secret)()?;
        let encode = |part: &str| byte_serialize(part.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(&self.client_id), encode(secret.expose_secret()));
        Ok(format!("Basic {}", STANDARD.encode(pair)))
    }
}

struct Grant {
    issuers: Authenticator,
    client: Client,
    credentials: Credentials,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    token_type: String,
    expires_in: Option<u64>,
}

impl Source<SecretString> for Grant {
    async fn fetch(&self) -> Result<Fetched<SecretString>, BoxError> {
        let issuer = self.issuers.issuers().first().ok_or("no issuer is configured")?;
        let credentials = &self.credentials;
        // `resource` is RFC 8707 and must be a URI; `audience` is what issuers without it read.
        let target = if credentials.audience.contains(':') { "resource" } else { "audience" };
        let fields =
            [("grant_type", "client_credentials"), ("scope", &*credentials.scope), (target, &*credentials.audience)];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let answer: Answer = self
            .client
            .post(issuer.endpoint(Endpoint::Token).await?)
            .sensitive(AUTHORIZATION, &credentials.basic()?)
            .form(fields)
            .repeatable()
            .send()
            .await?
            .success()?
            .json()?;
        // RFC 6749, 7.1: a token of a type that is not understood must not be used.
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err("the token that the issuer answered is not a bearer token".into());
        }
        if answer.expires_in == Some(0) {
            return Err("the token that the issuer answered has expired already".into());
        }
        // Gone a little before it expires, so that it does not expire on its way.
        let lasts = Duration::from_secs(answer.expires_in.unwrap_or(60)).mul_f64(0.9);
        Ok(Fetched::new(answer.access_token).fresh_for(lasts))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
