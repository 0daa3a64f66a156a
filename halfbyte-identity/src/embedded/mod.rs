//! An issuer in the process: for a laptop, for tests, and for products that have no other.
//!
//! Its signing keys, its clients and its name live in one file of the home folder, so that every product on that folder
//! shares this one issuer.

mod clients;
mod file;
mod grant;
mod state;

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::live::{self, Live, Policy};
use halfbyte_core::{BoxError, Clock, Lifecycle};
use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

pub use self::clients::ClientSpec;
use self::file::{StateFile, Stored};
pub(crate) use self::grant::{OAuthError, TokenRequest};
pub(crate) use self::state::State;
use crate::error::{Error, ErrorKind};
use crate::issuer::Endpoint;

/// How long an access token of this issuer is good.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(900);

/// The path of the token endpoint.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The path of the published keys.
pub const JWKS_PATH: &str = "/oauth/jwks";

/// The issuer in this process, shared with every process on the same home folder. Cheap to clone.
///
/// It signs with ES256. Of its keys one signs, the next one is published ahead of its use, and retired ones stay
/// published until the last token they signed has expired: a rotation fails no request.
///
/// ```
/// use halfbyte_core::home::Home;
/// use halfbyte_core::{Clock, Lifecycle};
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
    file: StateFile,
    state: Live<State>,
    issuer: Box<str>,
    /// Under which this process answers the endpoints.
    base: Url,
    audience: Box<str>,
    clock: Clock,
}

impl Embedded {
    /// Opens the issuer of `home`, making it on first use; it is then called `url` for good. `audience` is what a token is
    /// for when its client does not say.
    ///
    /// # Errors
    ///
    /// The state cannot be read or made, is open to other users, or is corrupt. A corrupt one is left as it is.
    pub async fn open(home: &Home, url: &Url, audience: &str, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let folder = home.folder("identity").map_err(|error| {
            Error::new(ErrorKind::Storage, "the folder of the embedded issuer cannot be used").caused_by(error)
        })?;
        let file = StateFile::new(folder, lifecycle.clock().clone());
        let (opened, name) = (file.clone(), url.as_str().trim_end_matches('/').to_owned());
        let issuer = blocking(move || opened.make_or_read(&name)).await?;
        let policy = Policy {
            fresh_for: Duration::from_secs(2),
            // The file is on this machine: when it cannot be read, something is wrong that waiting does not mend.
            max_stale: Duration::from_secs(60),
            // What is asked for is a look at a small file, and another process may have changed it just now.
            demand_gap: Duration::ZERO,
            ..Policy::default()
        };
        let state = Live::start("identity.embedded", policy, file.clone(), lifecycle);
        state.ready().await.map_err(|error| {
            Error::new(ErrorKind::Storage, "the state of the embedded issuer cannot be read").caused_by(error)
        })?;
        let (base, clock) = (url.clone(), lifecycle.clock().clone());
        Ok(Self(Arc::new(Inner { file, state, issuer: issuer.into(), base, audience: audience.into(), clock })))
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

    pub(crate) fn state(&self) -> &Live<State> {
        &self.0.state
    }

    /// Has the state be no older than this call.
    pub(crate) async fn reread(&self) -> Result<(), live::Error> {
        // Twice, as the first may join a read that began before this call.
        for _ in 0..2 {
            let seen = self.0.state.load().map_or(u64::MAX, |state| state.generation());
            self.0.state.refresh(seen).await?;
        }
        Ok(())
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

    pub(crate) fn endpoint(&self, endpoint: Endpoint) -> Result<Option<Url>, BoxError> {
        Ok(match endpoint {
            Endpoint::Token => Some(self.0.base.join(TOKEN_PATH)?),
            Endpoint::Introspection | Endpoint::Revocation | Endpoint::Userinfo => None,
        })
    }

    /// The metadata document: its issuer is the shared one, its endpoints are those of this process.
    pub(crate) fn metadata(&self) -> serde_json::Value {
        let base = self.0.base.as_str().trim_end_matches('/');
        serde_json::json!({
            "issuer": self.issuer(),
            "jwks_uri": format!("{base}{JWKS_PATH}"),
            "token_endpoint": format!("{base}{TOKEN_PATH}"),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })
    }

    /// Changes the file under its lock, and has the change take effect here at once.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Stored, Timestamp) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (file, now) = (self.0.file.clone(), self.now());
        let outcome = blocking(move || file.change(|stored| change(stored, now))).await?;
        if let Err(error) = self.reread().await {
            tracing::warn!(%error, "the change is written and takes effect with the next refresh");
        }
        Ok(outcome)
    }
}

/// File locks and fsync block; they have threads of their own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Storage, "the work on the file ended early").caused_by(error))
    })
}
