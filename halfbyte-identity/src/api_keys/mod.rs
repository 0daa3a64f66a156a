//! API keys: long-lived credentials of programs, made by the product and shown once.
//!
//! ```
//! use halfbyte_core::config::{ApiKeysBackend, Environment};
//! use halfbyte_core::home::Home;
//! use halfbyte_core::{Clock, Lifecycle};
//! use halfbyte_identity::api_keys::{ApiKeySpec, ApiKeys};
//! use secrecy::ExposeSecret as _;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let home = Home::open(folder.path().join("home"))?;
//! let lifecycle = Lifecycle::new(Clock::system());
//! let keys = ApiKeys::open(&ApiKeysBackend::Embedded, Environment::Development, &home, &lifecycle).await?;
//! let keys = keys.expect("they are not off");
//!
//! let spec = ApiKeySpec::new("acme".parse()?).label("nightly import").scopes(["labels:write"]);
//! let (key, secret) = keys.create(spec).await?;
//! assert!(secret.expose_secret().starts_with("hb_dev_"));
//! let caller = keys.authenticate(secret.expose_secret()).await?;
//! assert_eq!((caller.tenant().as_str(), caller.has_scope("labels:write")), ("acme", true));
//!
//! keys.revoke(&key.id).await?;
//! assert!(keys.authenticate(secret.expose_secret()).await.is_err());
//! # Ok(()) }
//! ```
//!
//! A key is `hb_ENV_ID_SECRET`: it says where it is good (`dev`, `stg`, `live`) and which one it is, and its last characters
//! are a checksum, so that secret scanners know it without asking: see [`KEY_PATTERN`]. Of a key that was found somewhere,
//! the third part is the id to [revoke](ApiKeys::revoke).
//!
//! # What it guarantees
//!
//! - A secret has 256 random bits. Only its SHA-256 is kept, compared in constant time; the answer to an unknown id takes the
//!   same path as that to a wrong secret, and reads the same.
//! - A text without the right checksum, or a key of another environment, is refused without asking the store.
//! - A key that was seen before costs a hash and a look-up: no I/O.
//! - Create, rotate and revoke are in force in this process when they return. In other processes:
//!   - in the file, a revocation within 2 seconds; a new key or secret at its first use, or within 2 seconds where many keys
//!     that are not known are tried;
//!   - in PostgreSQL, within moments, as each change is pushed (`LISTEN`/`NOTIFY`); within 5 seconds when the connection is
//!     cut or falls silent; a row that somebody changes by hand within 30 seconds, or at once after
//!     `notify halfbyte_api_keys`.
//! - Made-up keys do not become a load: the file is read for them at most four times a second; the database is asked two
//!   times at once, 256 wait, more are answered 503, and keys that were seen before do not stand in that queue.
//! - When the store cannot be asked, a key that was seen before is good for a moment more (PostgreSQL: 5 seconds, the file:
//!   a minute), and after that, as for any other key, the answer is 503: never 401, and never "yes".
//! - No key appears in a `Debug`, an error, a log line or the store, and the URL of the database in none of the first three.
//!
//! # What it does not do
//!
//! - It does not ask who may create or revoke keys: that is the product's to decide.
//! - A key has no audience. Products on one home folder or one database accept each other's keys, as far as scopes go: keep
//!   those of products that should not in databases of their own, or give scopes the product's name.
//! - It does not count or limit the use of a key, and does not know when it was last used.
//! - A tenant has at most 10,000 keys, the file 100,000. A key that has expired or was revoked is forgotten 30 days later.
//! - The file is for development and tests; production refuses it.
//! - PostgreSQL is reached directly or through a pooler in session mode: one in transaction mode passes on no notifications
//!   and no settings. A server elsewhere must show a certificate of a public authority or of `sslrootcert`, unless the URL
//!   names another `sslmode`.

#[cfg(feature = "postgres")]
mod cache;
#[cfg(feature = "postgres")]
mod database;
mod embedded;
mod format;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod spec;

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Principal, Problem, TenantId};
use jiff::Timestamp;
use secrecy::SecretString;

pub use self::format::KEY_PATTERN;
pub(crate) use self::format::looks_like;
use self::format::{Digest, Id, generate, parse};
pub use self::record::ISSUER;
use self::record::{Stored, Verdict};
use self::spec::refused;
pub use self::spec::{ApiKey, ApiKeySpec, MAX_OVERLAP};
use crate::error::{Error, ErrorKind};

/// The API keys of one product, or of several on one store; from [`Identity::api_keys`](crate::Identity::api_keys) where they
/// are accepted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    environment: Environment,
    clock: Clock,
}

#[derive(Debug)]
enum Store {
    Embedded(embedded::Store),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Store),
}

/// The most keys of one tenant.
const MAX_OF_TENANT: usize = 10_000;

const INVALID: &str = "the API key is not valid";
const EXPIRED: &str = "the API key has expired";

impl ApiKeys {
    /// Opens the store, making it when there is none; `None` when API keys are off. Keys are those of `environment`.
    ///
    /// A database that cannot be reached is waited for in the background: see `lifecycle.health()`.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is corrupt; the database refuses this program, or its table is of another version; or this
    /// program was built without the feature `postgres`.
    pub async fn open(
        backend: &ApiKeysBackend,
        environment: Environment,
        home: &Home,
        lifecycle: &Lifecycle,
    ) -> Result<Option<Self>, Error> {
        let store = match backend {
            ApiKeysBackend::Off => return Ok(None),
            ApiKeysBackend::Embedded => Store::Embedded(embedded::Store::open(home, lifecycle).await?),
            #[cfg(feature = "postgres")]
            ApiKeysBackend::Postgres(url) => Store::Postgres(postgres::Store::open(url, lifecycle).await?),
            #[cfg(not(feature = "postgres"))]
            ApiKeysBackend::Postgres(_) => {
                let message = "API keys in PostgreSQL need the feature \"postgres\" of halfbyte-identity; enable it, \
                               or set HALFBYTE_API_KEYS_URL to off: or embedded:";
                return Err(Error::new(ErrorKind::Storage, message));
            }
            _ => return Err(Error::new(ErrorKind::Storage, "API keys cannot be kept there in this version")),
        };
        Ok(Some(Self(Arc::new(Inner { store, environment, clock: lifecycle.clock().clone() }))))
    }

    /// Makes a key. The text is seen this once: it is not kept, and cannot be had again.
    ///
    /// When the call is given up halfway the key may have been made: it is listed then, and should be revoked.
    ///
    /// # Errors
    ///
    /// The key cannot be as `spec` says, the tenant has 10,000 keys, or the store cannot be written.
    pub async fn create(&self, spec: ApiKeySpec) -> Result<(ApiKey, SecretString), Error> {
        let now = self.now();
        let (id, secret) = generate(self.0.environment, None)?;
        let stored = Stored::new(spec, id, digest_of(&secret), now)?;
        let key = stored.info(id);
        match &self.0.store {
            Store::Embedded(store) => store.create(id, stored, now).await?,
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => store.create(id, stored, now).await?,
        }
        Ok((key, secret))
    }

    /// The keys of `tenant`, the oldest first: also those that have ended, for 30 days.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, Error> {
        let mut keys = match &self.0.store {
            Store::Embedded(store) => store.list(tenant.clone()).await?,
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => store.list(tenant.clone()).await?,
        };
        keys.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(keys)
    }

    /// Gives the key a new secret and answers its text. The id stays; the text before stays good for `overlap`, so that it
    /// can be replaced while requests run. The one before that ends at once, whatever overlap it was given.
    ///
    /// # Errors
    ///
    /// There is no such key, it is revoked or has expired, `overlap` is longer than [`MAX_OVERLAP`], or the store cannot be
    /// written.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<SecretString, Error> {
        let now = self.now();
        let id = Id::parse(id).ok_or_else(|| no_such_key(id))?;
        let (_, secret) = generate(self.0.environment, Some(id))?;
        let digest = digest_of(&secret);
        self.update(id, move |key| key.rotate(digest, overlap, now)).await?;
        Ok(secret)
    }

    /// Ends the key, now and for good. Revoking it again changes nothing.
    ///
    /// It is in force here when this answers `Ok`; the [module](self) says when it is elsewhere. Streams that the key has
    /// opened go on: [`tie`](crate::tie) says how to end them.
    ///
    /// # Errors
    ///
    /// There is no such key, or the store cannot be written: then it may or may not be revoked, and should be again.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let now = self.now();
        let id = Id::parse(id).ok_or_else(|| no_such_key(id))?;
        self.update(id, move |key| {
            key.revoke(now);
            Ok(())
        })
        .await
    }

    /// Verifies `key` with what is at hand: no waiting, no I/O. `None` when the store has to be asked first.
    pub fn authenticate_now(&self, key: &str) -> Option<Result<Principal, Problem>> {
        let Some(id) = parse(key, self.0.environment) else { return Some(Err(malformed())) };
        let (digest, now) = (Digest::of(key), self.now());
        let verdict = match &self.0.store {
            Store::Embedded(store) => store.judge_now(id, &digest, now),
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => store.judge_now(id, &digest, now),
        };
        verdict.map(|verdict| answer(verdict, id))
    }

    /// Verifies `key`, asking the store where it has to be. Cancel safe.
    ///
    /// The principal is a [service](halfbyte_core::PrincipalKind::Service) of the issuer [`ISSUER`], and its credential id is
    /// the id of the key.
    ///
    /// # Errors
    ///
    /// `invalid-token`, in the same words for a key that is unknown, has another secret, or is revoked; `unavailable` when the
    /// store cannot be asked.
    pub async fn authenticate(&self, key: &str) -> Result<Principal, Problem> {
        let Some(id) = parse(key, self.0.environment) else { return Err(malformed()) };
        let (digest, now) = (Digest::of(key), self.now());
        let verdict = match &self.0.store {
            Store::Embedded(store) => {
                let verdict = store.judge(id, &digest, now).await;
                verdict.map_err(|error| Problem::unavailable(error.retry_in()))?
            }
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => {
                let verdict = store.judge(id, &digest, now).await;
                verdict.map_err(|postgres::Unavailable| Problem::unavailable(Duration::from_secs(1)))?
            }
        };
        answer(verdict, id)
    }

    /// Whether the key that `principal` came with is known to be revoked, gone, or to have another secret by now. The store is
    /// asked where it has to be; while it cannot be, the key counts as good.
    pub(crate) async fn has_ended(&self, principal: &Principal) -> bool {
        let Some(id) = principal.credential_id().and_then(Id::parse) else { return true };
        match &self.0.store {
            Store::Embedded(store) => store.has_ended(id, principal, self.now()),
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => store.has_ended(id, principal, self.now()).await,
        }
    }

    async fn update(
        &self,
        id: Id,
        update: impl FnOnce(&mut Stored) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        match &self.0.store {
            Store::Embedded(store) => store.update(id, update).await,
            #[cfg(feature = "postgres")]
            Store::Postgres(store) => store.update(id, update).await,
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

fn digest_of(secret: &SecretString) -> Digest {
    Digest::of(secrecy::ExposeSecret::expose_secret(secret))
}

fn malformed() -> Problem {
    tracing::debug!("an API key is refused: its form, its checksum or its environment is not right");
    Problem::invalid_token(INVALID)
}

fn answer(verdict: Verdict, id: Id) -> Result<Principal, Problem> {
    let (reason, detail) = match verdict {
        Verdict::Good(principal) => return Ok(principal),
        Verdict::Expired => ("it has expired", EXPIRED),
        Verdict::Wrong => ("it is unknown, has another secret, or is revoked", INVALID),
    };
    tracing::debug!(id = id.as_str(), reason, "an API key is refused");
    Err(Problem::invalid_token(detail))
}

/// What is not an id is not repeated: it may be a whole key.
fn no_such_key(id: &str) -> Error {
    match Id::parse(id) {
        Some(id) => refused(format!("there is no API key {}", id.as_str())),
        None => refused("that is not the id of an API key: it has 12 characters, and is the third part of the key"),
    }
}

fn too_many() -> Error {
    refused("the tenant has 10,000 API keys, which is the most; revoke those that are not used")
}
