use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use halfbyte_core::Lifecycle;
use jiff::Timestamp;
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};

use super::exchange::Exchanges;
use super::grant::Target;
use super::registration::Repeat;
use super::{AccessToken, Error, ErrorKind, Introspected, Registration, TokenSet, TokenSource, Userinfo};
use crate::issuer::Endpoint;

/// One client at one issuer, from [`Identity::client`](crate::Identity::client). Cheap to clone; clones share their tokens.
///
/// Every call finds its endpoint by discovery, is cancel safe, and ends within the limits of core's HTTP client. What is
/// sent more than once is said [here](super#what-is-sent-more-than-once).
///
/// ```no_run
/// use halfbyte_identity::outbound::ClientAuthentication;
/// # use {halfbyte_core::BoxError, secrecy::SecretString};
/// # async fn example(identity: &halfbyte_identity::Identity, refresh_token: SecretString) -> Result<(), BoxError> {
/// let client = identity.client("parcel", ClientAuthentication::secret(|| Ok("from your secret store".into())));
/// let tokens = client.refresh(&refresh_token).await?;
/// let ann = client.userinfo(tokens.access_token.secret(), Some("ann")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OAuthClient(Arc<Inner>);

struct Inner {
    // Apart from what is kept: the sources hold it too, and must not hold themselves.
    registration: Arc<Registration>,
    sources: Cache<Target, TokenSource>,
    exchanges: Exchanges,
    lifecycle: Lifecycle,
}

/// What kind of token is to be revoked (RFC 7009, 2.1); it spares the issuer a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenHint {
    /// An access token.
    AccessToken,
    /// A refresh token; most issuers then revoke the access tokens that came of it as well.
    RefreshToken,
}

/// Each is one background task.
const MOST_SOURCES: usize = 256;

impl OAuthClient {
    pub(crate) fn new(registration: Registration, lifecycle: &Lifecycle) -> Self {
        Self(Arc::new(Inner {
            registration: Arc::new(registration),
            sources: Cache::new(MOST_SOURCES),
            exchanges: Exchanges::new(),
            lifecycle: lifecycle.clone(),
        }))
    }

    /// Access tokens of this client's own for calling `audience`: by client credentials (RFC 6749, 4.4), fetched when first
    /// needed, renewed ahead of expiry, one fetch for all who wait. The same pair is answered by the same source; of more
    /// than 256 pairs the ones least used are let go.
    ///
    /// An `audience` that is a URI is sent as `resource` (RFC 8707), any other as `audience`; an empty one not at all.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn tokens(&self, audience: &str, scopes: &[&str]) -> TokenSource {
        let target = Target::new(audience, scopes);
        let start = || {
            let (registration, target) = (self.0.registration.clone(), target.clone());
            Ok::<_, Infallible>(TokenSource::start(registration, target, &self.0.lifecycle))
        };
        let Ok(source) = self.0.sources.get_or_insert_with(&target, start);
        source
    }

    /// A token for calling `audience` on behalf of the one who called with `subject_token` (RFC 8693). It is kept until
    /// shortly before it expires or `subject_expires_at`, whichever is earlier; one fetch for all who wait for the same.
    /// At most 10,000 are kept.
    ///
    /// ```no_run
    /// # use {halfbyte_core::{BoxError, Principal, client::Client}, halfbyte_identity::OAuthClient, secrecy::SecretString};
    /// # async fn example(client: OAuthClient, callers_token: SecretString, caller: Principal) -> Result<(), BoxError> {
    /// let token = client.exchange(&callers_token, Some(caller.expires_at()), "clinic", &["labels:read"]).await?;
    /// let request = Client::new()?.get("https://clinic.example.com/labels".parse()?);
    /// let answer = token.authorize(request).send().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// `subject_expires_at` is [`Principal::expires_at`](halfbyte_core::Principal::expires_at) of the caller; `None` where it
    /// is not known.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Expired`] without a call where `subject_expires_at` has passed; else as the issuer answered. Errors are
    /// not kept: the next call asks again.
    pub async fn exchange(
        &self,
        subject_token: &SecretString,
        subject_expires_at: Option<Timestamp>,
        audience: &str,
        scopes: &[&str],
    ) -> Result<AccessToken, Error> {
        let target = Target::new(audience, scopes);
        self.0.exchanges.token(&self.0.registration, subject_token, subject_expires_at, target).await
    }

    /// New tokens for a refresh token (RFC 6749, 6). An issuer that rotates refresh tokens answers a new one: keep that, as
    /// the one sent is used up. Dropping the future may lose it.
    ///
    /// # Errors
    ///
    /// As the issuer answered; with the [code](Error::code) `invalid_grant` the subject must sign in again. After any other
    /// error the issuer may have used up the refresh token all the same.
    pub async fn refresh(&self, refresh_token: &SecretString) -> Result<TokenSet, Error> {
        self.0.registration.refresh(refresh_token).await
    }

    /// What the issuer says of `token` (RFC 7662). Not kept: each call asks.
    ///
    /// ```no_run
    /// # use {halfbyte_core::BoxError, halfbyte_identity::OAuthClient, secrecy::SecretString};
    /// # async fn example(client: OAuthClient, token: SecretString) -> Result<(), BoxError> {
    /// #[derive(serde::Deserialize)]
    /// struct Claims { client_id: Option<String> }
    ///
    /// let said = client.introspect(&token).await?;
    /// if said.is_active() {
    ///     let Claims { client_id } = said.claims()?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The issuer did not say. That a token is not good is no error: see [`Introspected::is_active`].
    pub async fn introspect(&self, token: &SecretString) -> Result<Introspected, Error> {
        self.introspect_text(token.expose_secret()).await
    }

    pub(crate) async fn introspect_text(&self, token: &str) -> Result<Introspected, Error> {
        let fields = [("token", token), ("token_type_hint", "access_token")];
        // May be repeated: it changes nothing.
        let answer = self.0.registration.post(Endpoint::Introspection, &fields, Repeat::Allowed).await?;
        Introspected::read(answer.body().clone())
    }

    /// Revokes `token` at the issuer (RFC 7009). One that is not good already is no error.
    ///
    /// ```no_run
    /// # use {halfbyte_core::BoxError, halfbyte_identity::OAuthClient, secrecy::SecretString};
    /// use halfbyte_identity::outbound::TokenHint;
    /// # async fn example(client: OAuthClient, refresh_token: SecretString) -> Result<(), BoxError> {
    /// client.revoke(&refresh_token, Some(TokenHint::RefreshToken)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The issuer did not revoke it: it may still be good.
    pub async fn revoke(&self, token: &SecretString, hint: Option<TokenHint>) -> Result<(), Error> {
        let hint = match hint {
            None => "",
            Some(TokenHint::AccessToken) => "access_token",
            Some(TokenHint::RefreshToken) => "refresh_token",
        };
        let fields = [("token", token.expose_secret()), ("token_type_hint", hint)];
        // May be repeated: what is revoked stays revoked.
        self.0.registration.post(Endpoint::Revocation, &fields, Repeat::Allowed).await.map(drop)
    }

    /// What the issuer says of the subject of `access_token` (OpenID Connect Core 1.0, 5.3). Give the `sub` of the ID token
    /// or of the principal as `subject`, so that claims about somebody else are not taken for his.
    ///
    /// # Errors
    ///
    /// The issuer did not say, or its answer is about another subject ([`ErrorKind::WrongSubject`]).
    pub async fn userinfo(&self, access_token: &SecretString, subject: Option<&str>) -> Result<Userinfo, Error> {
        let answer = self.0.registration.get(Endpoint::Userinfo, access_token).await?;
        let userinfo = Userinfo::read(answer.body().clone())?;
        if subject.is_some_and(|subject| subject != userinfo.subject()) {
            return Err(Error::new(ErrorKind::WrongSubject, "the issuer's answer is about another subject"));
        }
        Ok(userinfo)
    }
}

/// Shows the client's id.
impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").field("client_id", &self.0.registration.client_id()).finish_non_exhaustive()
    }
}
