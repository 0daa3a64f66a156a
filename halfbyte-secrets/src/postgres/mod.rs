//! A pool of PostgreSQL connections that follows the rotation of its credential.

mod cutoff;
mod follow;
mod login;
mod retire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::Lifecycle;
use halfbyte_core::lifecycle::Check;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Notify, watch};

use self::cutoff::Cutoff;
use self::login::Login;
use crate::{Credential, Error, ErrorKind, Secret};

/// How many values are tried at start, where each one before was refused.
const TRIES_AT_START: usize = 3;

/// A pool of PostgreSQL connections whose user name and password are a [`Secret`], and stay so when that is rotated.
///
/// ```no_run
/// # async fn run(secrets: halfbyte_secrets::Secrets, lifecycle: halfbyte_core::Lifecycle) -> Result<(), Box<dyn std::error::Error>> {
/// use halfbyte_secrets::postgres::Database;
/// use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
///
/// let to = PgConnectOptions::new_without_pgpass().host("db.internal").database("orders").ssl_mode(PgSslMode::VerifyFull);
/// let database = Database::builder(secrets.get("db-login"), to)
///     .pool(PgPoolOptions::new().max_connections(20))
///     .connect(&lifecycle)
///     .await?;
///
/// let pool = database.pool().clone(); // an ordinary pool: hand it to whoever takes one
/// let orders: i64 = sqlx::query_scalar("select count(*) from orders").fetch_one(&pool).await?;
/// # Ok(()) }
/// ```
///
/// # What it guarantees
///
/// - There is one pool, for as long as the process lives: a clone of it that somebody keeps follows too, `max_connections` holds
///   while a credential is rotated, and nobody meets a closed pool before the end.
/// - A new credential is verified first, by a connection of its own that runs `select 1`. Until one works the pool goes on with
///   the one that it has; the attempt is repeated with back-off.
/// - Connections of the credential before are closed: idle ones at once, the others when they are given back. What is left
///   when its [lease](Secret::lease_ends) is about to end is ended by the server, whatever runs there.
/// - A login that the server refuses (SQLSTATE 28P01, 28000) makes the follower look at once and
///   [reject](Secret::reject) the credential, once for all who met it. [`acquire`](Self::acquire) and
///   [`begin`](Self::begin) see that and try once more with what comes; others are helped by a look every 30 seconds, or
///   [as often as you say](Builder::check_every).
/// - Readiness shows it as `postgres.NAME`: `current`, `behind` while a newer credential does not work, or `failing` while the
///   one in use does not.
/// - When the [`Lifecycle`] asks its tasks to end, which is after requests were drained, the pool is closed; what is still at
///   work then has five seconds. A pool that is closed before keeps its credential until its last connection is back.
/// - A password goes to another machine only by a connection that is encrypted: an `sslmode` below `require` is refused for what
///   is not a loopback address or a Unix socket. Say `verify-full`, as above: with `require` alone the server is not checked,
///   and whoever is on the way can be it.
/// - No error and nothing printed here has the password in it.
///
/// # What it does not do
///
/// - sqlx keeps the password in the options of its pool as an ordinary text, which is not wiped, and
///   [`PgPool::connect_options`](sqlx::Pool::connect_options) shows it to who asks.
/// - Connections of a credential that is not leased are not ended by force: PostgreSQL does not mind them.
/// - [`PgPoolOptions::after_release`](sqlx::pool::PoolOptions::after_release) is what closes old connections, so one of yours
///   is replaced.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: PgPool,
    cutoff: Arc<Cutoff>,
    login: Login,
    secret: Secret<Credential>,
    check_every: Duration,
    progress: watch::Sender<Progress>,
    /// Asks the follower to look at once.
    nudge: Notify,
}

/// What the follower has done so far.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Which the new connections of the pool are made with.
    generation: u64,
    /// How many looks are through.
    looks: u64,
    is_looking: bool,
    /// Looks that failed since the last one that did not.
    failures: u32,
}

impl Database {
    /// Begins a pool of connections to where `options` says, with the credential `secret`. Its host, port and database, where it
    /// has them, stand in front of those of `options`; its user name and password always do.
    pub fn builder(secret: Secret<Credential>, options: PgConnectOptions) -> Builder {
        Builder {
            secret,
            options,
            pool: PgPoolOptions::new(),
            verify_within: Duration::from_secs(5),
            check_every: Duration::from_secs(30),
            allow_plaintext: false,
        }
    }

    /// The pool: always this one, whichever the credential is. Cloning it is a reference count.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// A connection. Where the server refuses the credential, waits until another one is there, and tries once more. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`](sqlx::Pool::acquire).
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let seen = self.generation();
        match self.0.pool.acquire().await {
            Err(error) if login::is_refusal(&error) => {
                if self.0.looked(seen).await {
                    self.0.pool.acquire().await
                } else {
                    Err(error)
                }
            }
            outcome => outcome,
        }
    }

    /// A connection as [`acquire`](Self::acquire) gives it, with a transaction. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`](sqlx::Pool::begin).
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        Transaction::begin(self.acquire().await?, None).await
    }

    /// The [generation](Secret::generation) that new connections are made with: that of the secret, or an older one while the
    /// newer one does not work.
    pub fn generation(&self) -> u64 {
        self.0.progress.borrow().generation
    }

    /// Waits until the pool uses a generation after `seen`, and answers its number. Cancel safe.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut progress = self.0.progress.subscribe();
        match progress.wait_for(|progress| progress.generation > seen).await {
            Ok(progress) => progress.generation,
            Err(_closed) => std::future::pending().await,
        }
    }
}

impl Inner {
    /// Lets the follower look at the credential `seen`, which was refused; one look for all who ask meanwhile. Answers whether it
    /// is worth another try.
    async fn looked(&self, seen: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let now = *progress.borrow_and_update();
        if now.generation > seen {
            return true;
        }
        if now.failures > 0 && !now.is_looking {
            // It backs off, and will not know better before it looks again.
            return false;
        }
        let enough = now.looks + 1 + u64::from(now.is_looking);
        self.nudge.notify_one();
        let looked = progress.wait_for(|now| now.generation > seen || now.looks >= enough);
        let limit = self.pool.options().get_acquire_timeout();
        matches!(tokio::time::timeout(limit, looked).await, Ok(Ok(now)) if now.failures == 0)
    }

    /// Ready in any case: whether the database can be reached is for who needs it to say, and what is open may still work.
    fn check(&self) -> Check {
        let Progress { generation, failures, .. } = *self.progress.borrow();
        let (state, detail) = match failures {
            0 => ("current", None),
            _ if generation == self.secret.generation() => {
                ("failing", Some(format!("{failures} logins failed in a row")))
            }
            _ => (
                "behind",
                Some(format!("generation {generation} is in use: {failures} logins with a newer one failed")),
            ),
        };
        let name = format!("postgres.{}", self.secret.name()).into();
        Check { name, ready: true, state, age: None, detail }
    }
}

/// Says that a pool is there, and of which secret.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { pool, secret, .. } = &*self.0;
        f.debug_struct("Database").field("secret", secret).field("pool", pool).finish_non_exhaustive()
    }
}

/// What a [`Database`] is made of; see [`Database::builder`].
pub struct Builder {
    secret: Secret<Credential>,
    options: PgConnectOptions,
    pool: PgPoolOptions,
    verify_within: Duration,
    check_every: Duration,
    allow_plaintext: bool,
}

impl Builder {
    /// The limits and hooks of the pool. Its `after_release` is not kept.
    #[must_use]
    pub fn pool(mut self, options: PgPoolOptions) -> Self {
        self.pool = options;
        self
    }

    /// How long verifying a credential may take. Default 5 seconds.
    #[must_use]
    pub fn verify_within(mut self, limit: Duration) -> Self {
        self.verify_within = limit;
        self
    }

    /// How often the credential in use is looked at by a login of its own, so that one which was revoked behind our back is
    /// noticed before the last open connection goes. Default 30 seconds.
    #[must_use]
    pub fn check_every(mut self, period: Duration) -> Self {
        self.check_every = period;
        self
    }

    /// Also connects to another machine where the `sslmode` of the options lets that be without encryption: whoever is on the way
    /// then reads all data, and can have the password. For a network that encrypts by itself.
    #[must_use]
    pub fn danger_allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// Waits for the secret, verifies it, and begins to follow it, until `lifecycle` asks its tasks to end or somebody closes the
    /// pool. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Secret::ready`]; [`Denied`](ErrorKind::Denied) if the server refuses the credential and its backend has no
    /// other, or if it is on another machine and the options do not ask for encryption; [`Unavailable`](ErrorKind::Unavailable) if the server cannot be reached or has no room. The source is sqlx's error.
    pub async fn connect(self, lifecycle: &Lifecycle) -> Result<Database, Error> {
        let Self { secret, options, pool, verify_within, check_every, allow_plaintext } = self;
        let login = Login { to: options, within: verify_within, allow_plaintext };
        secret.ready().await?;
        let (generation, options) = first(&secret, &login).await?;
        let cutoff = Arc::new(Cutoff::new());
        let is_old = cutoff.clone();
        let pool = pool
            .after_release(move |_, metadata| {
                let keep = !is_old.is_before(metadata.age);
                Box::pin(std::future::ready(Ok(keep)))
            })
            .connect_lazy_with(options);
        let progress = Progress { generation, looks: 0, is_looking: false, failures: 0 };
        let (progress, nudge) = (watch::Sender::new(progress), Notify::new());
        let inner = Arc::new(Inner { pool, cutoff, login, secret, check_every, progress, nudge });
        let weak = Arc::downgrade(&inner);
        lifecycle.health().register(move || Some(weak.upgrade()?.check()));
        lifecycle.spawn("postgres", follow::run(inner.clone(), lifecycle.stopping()));
        Ok(Database(inner))
    }
}

/// The first credential that works.
async fn first(secret: &Secret<Credential>, login: &Login) -> Result<(u64, PgConnectOptions), Error> {
    let mut snapshot = secret.load()?;
    for tried in 1.. {
        let (generation, options) = (snapshot.generation(), login.options(&snapshot)?);
        drop(snapshot);
        match login.verify(&options).await {
            Ok(()) => return Ok((generation, options)),
            Err(failure) if failure.is_refusal && tried < TRIES_AT_START => {
                snapshot = secret.reject(generation).await.map_err(|_| failure.into_error(secret.name()))?;
            }
            Err(failure) => return Err(failure.into_error(secret.name())),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the credential was not tried"))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options of a connection may hold a password.
        let Self { secret, pool, .. } = self;
        f.debug_struct("Builder").field("secret", secret).field("pool", pool).finish_non_exhaustive()
    }
}
