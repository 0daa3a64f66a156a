//! An issuer in the process: for a laptop, for tests, and for products that have no other.
//!
//! Its signing keys, its clients and its name live in one file of the home folder, so that every product on that folder
//! shares this one issuer.

mod clients;
mod exchange;
mod file;
mod grant;
mod introspection;
mod metadata;
mod own_token;
mod request;
mod revocation;
mod state;

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::live::{self, Live};
use halfbyte_core::{Clock, Lifecycle, error_chain};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

pub use self::clients::ClientSpec;
use self::file::Stored;
pub use self::metadata::{INTROSPECTION_PATH, JWKS_PATH, REVOCATION_PATH, TOKEN_PATH};
use self::request::Authenticated;
pub(crate) use self::request::{OAuthError, OAuthRequest};
use self::revocation::Revocation;
pub(crate) use self::state::State;
use crate::error::Error;
use crate::state_file::{StateFile, blocking, reread};

/// How long an access token of this issuer is good.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(900);

/// The issuer in this process, shared with every process on the same home folder. Cheap to clone.
///
/// It signs with ES256. Of its keys one signs, the next one is published ahead of its use, and retired ones stay
/// published until the last token they signed has expired: a rotation fails no request.
///
/// ```
/// use halfbyte_core::home::Home;
/// use halfbyte_core::{Clock, Lifecycle, error_chain};
/// use halfbyte_identity::Embedded;
/// use halfbyte_identity::embedded::ClientSpec;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let home = Home::open(folder.path().join("home"))?;
/// let url = "http://127.0.0.1:8080".parse()?;
/// let issuer = Embedded::open(&home, &url, "parcel", &Lifecycle::new(Clock::system())).await?;
/// let client = ClientSpec::new("acme-app", "acme".parse()?).scopes(["labels:write"]).audiences(["parcel"]);
/// let secret = issuer.register(client).await?;
/// issuer.rotate_signing_key().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: StateFile<Stored>,
    state: Live<State>,
    issuer: Box<str>,
    /// Under which this process answers the endpoints.
    base: Url,
    audience: Box<str>,
    clock: Clock,
    /// One change at a time, so that clients who revoke take one thread and not all there are for files.
    turn: Arc<Mutex<()>>,
}

/// What a client may ask for by a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Grant,
    Revoke,
    Introspect,
}

/// Why it is not done.
pub(crate) enum Failure {
    Refused(OAuthError),
    /// The state cannot be read or written; the client may try again after that time.
    Unavailable(Duration),
}

impl Embedded {
    /// Opens the issuer of `home`, making it on first use; it is then called `url` for good. `audience` is what a token is
    /// for when its client does not say.
    ///
    /// # Errors
    ///
    /// The state cannot be read or made, is open to other users, or is corrupt. A corrupt one is left as it is.
    pub async fn open(home: &Home, url: &Url, audience: &str, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let file = StateFile::in_home(home, lifecycle.clock())?;
        let (opened, name) = (file.clone(), url.as_str().trim_end_matches('/').to_owned());
        let made = move || {
            tracing::info!(issuer = name, "the embedded issuer is made");
            Stored::new(&name)
        };
        let issuer = blocking(move || opened.read_or_make(made)).await?.issuer;
        let state = file.watch("identity.embedded", lifecycle).await?;
        let (base, clock) = (url.clone(), lifecycle.clock().clone());
        let (audience, turn) = (audience.into(), Arc::default());
        Ok(Self(Arc::new(Inner { file, state, issuer: issuer.into(), base, audience, clock, turn })))
    }

    /// Its identifier: the `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Adds a client, or changes the one of that id. Answers its secret, which is the same each time until it is rotated.
    ///
    /// # Errors
    ///
    /// The client's id cannot be used, or the state cannot be written.
    pub async fn register(&self, client: ClientSpec) -> Result<SecretString, Error> {
        client.validate()?;
        let id = client.id.clone();
        self.change(move |stored, _| {
            stored.put_client(client);
            stored.client_secret(&id)
        })
        .await
    }

    /// Gives a client a new secret. The one before stays good until the next rotation, so that it can be handed over
    /// while requests run.
    ///
    /// # Errors
    ///
    /// There is no such client, or the state cannot be written.
    pub async fn rotate_client_secret(&self, id: &str) -> Result<SecretString, Error> {
        let id = id.to_owned();
        self.change(move |stored, _| {
            stored.rotate_client_secret(&id)?;
            stored.client_secret(&id)
        })
        .await
    }

    /// Signs with the next key from now on; answers its id. Tokens of the key before stay good until they expire.
    ///
    /// # Errors
    ///
    /// The state cannot be written, or there were 62 rotations in the last quarter of an hour: all their keys are still in
    /// use, and more would not be read by others.
    pub async fn rotate_signing_key(&self) -> Result<String, Error> {
        self.change(Stored::rotate_signing_key).await
    }

    /// Revokes the token of that id (`jti`; see [`Principal::credential_id`](halfbyte_core::Principal::credential_id)) and
    /// what was exchanged for it. `expires_at` is when it would have expired: until then the revocation is kept.
    ///
    /// It takes effect in this process before this returns, and within two seconds in the others on the home folder. A
    /// token that is revoked already, or has expired, is no error. When the future is dropped the token may be revoked
    /// or not.
    ///
    /// # Errors
    ///
    /// The id cannot be one, the state cannot be written, or 100,000 tokens are revoked that have not expired.
    pub async fn revoke(&self, token_id: &str, expires_at: Timestamp) -> Result<(), Error> {
        let revocation = Revocation { token_id: token_id.to_owned(), expires_at };
        self.change(move |stored, now| stored.revoke(revocation, now)).await
    }

    /// Revokes all that was issued to a client up to now, and what was exchanged for it. It takes effect as
    /// [`revoke`](Self::revoke) does; what another process issues to the client before it has seen that is revoked too.
    ///
    /// Its secret stays good, and with it the client has new tokens: [rotate](Self::rotate_client_secret) it twice to take
    /// that away.
    ///
    /// # Errors
    ///
    /// There is no such client, or the state cannot be written.
    pub async fn revoke_client(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.change(move |stored, _| stored.revoke_client(&id)).await
    }

    /// Does what a client asks for, if it may; answers what to tell it.
    pub(crate) async fn perform(&self, operation: Operation, request: &OAuthRequest) -> Result<Value, Failure> {
        if request.is_news_to(&*self.state().get().await?) {
            self.reread().await?;
        }
        let revocation = {
            let state = self.state().get().await?;
            let request = Authenticated::new(self, &state, request)?;
            match operation {
                Operation::Grant => return Ok(request.grant()?),
                Operation::Introspect => return Ok(request.introspection()?),
                Operation::Revoke => request.revocation()?,
            }
        };
        if let Some(Revocation { token_id, expires_at }) = revocation {
            self.revoke(&token_id, expires_at).await.map_err(|error| {
                tracing::error!(error = error_chain(&error), "a token that its client revokes cannot be revoked");
                Failure::Unavailable(Duration::from_secs(1))
            })?;
        }
        Ok(json!({}))
    }

    pub(crate) fn state(&self) -> &Live<State> {
        &self.0.state
    }

    /// Has the state be no older than this call.
    pub(crate) async fn reread(&self) -> Result<(), live::Error> {
        reread(&self.0.state).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What a token is for: what its client asked for, by name or as the address in this product's resource metadata, or
    /// this product.
    pub(crate) fn audience_of<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        let own = self.0.base.as_str().trim_end_matches('/');
        asked.filter(|asked| asked.trim_end_matches('/') != own).unwrap_or(&self.0.audience)
    }

    /// Changes the file under its lock, and has the change take effect here at once.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Stored, Timestamp) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.0.turn.clone().lock_owned().await;
        let (file, now) = (self.0.file.clone(), self.now());
        let outcome = blocking(move || {
            // Given back when the work has ended, also when nobody waits for it any more.
            let _turn = turn;
            file.change(|stored| {
                stored.prune(now);
                change(stored, now)
            })
        })
        .await?;
        if let Err(error) = self.reread().await {
            tracing::warn!(%error, "the change is written and takes effect with the next refresh");
        }
        Ok(outcome)
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl From<live::Error> for Failure {
    fn from(error: live::Error) -> Self {
        Self::Unavailable(error.retry_in())
    }
}
