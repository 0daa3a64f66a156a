//! A pool that follows the rotation of its credential, against a real PostgreSQL. Roles whose name begins with `password_`
//! must have their password there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte::core::lifecycle::Check;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte_secrets::postgres::Database as Pool;
use halfbyte_secrets::{
    Ask, Credential, Error, ErrorKind, Lease, Policy, Provider, Reading, Secret, Secrets, Stage, Version, live,
};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::database::Database;

/// Holds one credential, and lends it if it is told to.
#[derive(Clone, Default)]
struct Vault(Arc<State>);

#[derive(Default)]
struct State {
    current: Mutex<Option<(String, Option<Duration>)>>,
    version: AtomicUsize,
    reads: AtomicUsize,
    revoked: AtomicUsize,
}

impl Vault {
    fn set(&self, user: &str, password: &str, ttl: Option<Duration>) {
        let value = format!(r#"{{"username": "{user}", "password": "{password}"}}"#);
        *self.0.current.lock().unwrap() = Some((value, ttl));
        self.0.version.fetch_add(1, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    fn revoked(&self) -> usize {
        self.0.revoked.load(Ordering::SeqCst)
    }
}

impl Provider for Vault {
    const NAME: &'static str = "vault-in-memory";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        if ask.stage() != Stage::Current {
            return Err(Error::new(ErrorKind::NotFound, "there are no stages"));
        }
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let version = self.0.version.load(Ordering::SeqCst).to_string();
        let current = self.0.current.lock().unwrap().clone();
        let (value, ttl) = current.ok_or_else(|| Error::new(ErrorKind::NotFound, "there is none yet"))?;
        let reading = Reading::new(value);
        Ok(match ttl {
            Some(ttl) => reading.lease(Lease::new(version, ttl)),
            None => reading.version(Version::new(version)),
        })
    }

    async fn revoke(&self, _: &Lease) -> Result<(), Error> {
        self.0.revoked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A database with a role, a vault with the role's password, and a pool by that.
struct Product {
    admin: Database,
    role: String,
    vault: Vault,
    secret: Secret<Credential>,
    pool: Pool,
    lifecycle: Lifecycle,
    _secrets: Secrets,
}

/// How often the vault is asked.
fn every(period: Duration) -> Policy {
    let backoff = Duration::from_millis(20);
    let policy = live::Policy {
        fresh_for: period,
        backoff,
        max_backoff: backoff,
        demand_gap: backoff,
        ..live::Policy::default()
    };
    policy.into()
}

const OFTEN: Duration = Duration::from_millis(20);
const RARELY: Duration = Duration::from_secs(600);

impl Product {
    async fn start(name: &str, policy: Policy, ttl: Option<Duration>, options: PgPoolOptions) -> Self {
        Self::looking(name, policy, ttl, options, RARELY).await
    }

    /// With a pool that looks whether its credential works as often as that.
    async fn looking(
        name: &str,
        policy: Policy,
        ttl: Option<Duration>,
        options: PgPoolOptions,
        check_every: Duration,
    ) -> Self {
        let mut admin = Database::new(&format!("pool_{name}")).await;
        let role = format!("password_{name}");
        admin.role(&role, "first").await;
        let vault = Vault::default();
        vault.set(&role, "first", ttl);
        let lifecycle = Lifecycle::new(Clock::system());
        let secrets = Secrets::builder(vault.clone()).policy(policy).build(&lifecycle);
        let secret = secrets.get::<Credential>("db-login");
        let to: PgConnectOptions = admin.url.parse().unwrap();
        let builder = Pool::builder(secret.clone(), to.application_name(&format!("test_{name}")));
        let printed = format!("{builder:?}");
        let pool = builder.pool(options).check_every(check_every).connect(&lifecycle).await.unwrap();
        assert!(!format!("{printed} {pool:?}").contains("first"), "{printed} {pool:?}");
        Self { admin, role, vault, secret, pool, lifecycle, _secrets: secrets }
    }

    async fn user(&self) -> String {
        sqlx::query_scalar("select session_user::text").fetch_one(self.pool.pool()).await.unwrap()
    }

    async fn set_password(&mut self, password: &str) {
        let statement = format!("alter role {} password '{password}'", self.role);
        sqlx::query(AssertSqlSafe(statement)).execute(&mut self.admin.sql).await.unwrap();
    }

    async fn sessions_of(&mut self, role: &str) -> i64 {
        let sql = "select count(*) from pg_stat_activity where usename = $1";
        sqlx::query_scalar(sql).bind(role).fetch_one(&mut self.admin.sql).await.unwrap()
    }

    fn check(&self) -> Check {
        let report = self.lifecycle.health().report();
        report.into_iter().find(|check| &*check.name == "postgres.db-login").unwrap()
    }

    async fn adopted(&self, seen: u64) -> u64 {
        timeout(Duration::from_secs(10), self.pool.changed(seen)).await.expect("adopted")
    }
}

impl Database {
    /// A role that may log in here.
    async fn role(&mut self, role: &str, password: &str) {
        for statement in [
            // As many as are usual take a while in a build without optimisation.
            "set scram_iterations = 16".to_owned(),
            format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"),
            format!("drop role if exists {role}"),
            format!("create role {role} login password '{password}'"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut self.sql).await.unwrap();
        }
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), reached).await.unwrap_or_else(|_| panic!("{what}"));
}

fn four() -> PgPoolOptions {
    PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rotations_of_a_password_under_eight_tasks_fail_no_query() {
    let mut product = Product::start("rotated", every(OFTEN), None, four()).await;
    let (stop, queries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (pool, stop, queries) = (product.pool.clone(), stop.clone(), queries.clone());
        // A clone that somebody keeps is as good as any.
        let kept = pool.pool().clone();
        tasks.spawn(async move {
            let mut number = 0_i64;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let query = sqlx::query_scalar("select $1::bigint + 1").bind(number);
                let answer: i64 = match task % 2 {
                    0 => query.fetch_one(&mut *pool.acquire().await.unwrap()).await.unwrap(),
                    _ => query.fetch_one(&kept).await.unwrap(),
                };
                assert_eq!(answer, number + 1);
                queries.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for rotation in 0..20 {
        let seen = product.pool.generation();
        let next = format!("password{rotation}");
        // First there is another role with another password, as those who rotate without a gap do it.
        let role = format!("{}_{}", product.role, rotation % 2);
        if rotation < 2 {
            product.admin.role(&role, &next).await;
        } else {
            let statement = format!("alter role {role} password '{next}'");
            sqlx::query(AssertSqlSafe(statement)).execute(&mut product.admin.sql).await.unwrap();
        }
        product.vault.set(&role, &next, None);
        product.adopted(seen).await;
        // A connection that was just being given back may do one more query.
        until("new connections are those of the new role", async || product.user().await == role).await;
        let before = queries.load(Ordering::SeqCst);
        until("queries go on", async || queries.load(Ordering::SeqCst) > before + 20).await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.expect("no query failed");
    }
    let first = product.role.clone();
    until("the first role has no session left", async || product.sessions_of(&first).await == 0).await;
    assert!(product.pool.pool().size() <= 4);
    assert!(product.lifecycle.stop_tasks(Duration::from_secs(5)).await);
    assert!(product.pool.pool().is_closed());
    let [even, odd] = [0, 1].map(|number| format!("{}_{number}", product.role));
    let mut left = async || product.sessions_of(&even).await + product.sessions_of(&odd).await;
    until("all are closed at the end", async || left().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_query_survives_the_rotation_and_its_connection_is_closed_then() {
    // Logins are waited for longer than this takes, so that nothing but the change itself closes what is old.
    let patient = four().acquire_timeout(Duration::from_secs(60));
    let mut product = Product::start("survivor", every(OFTEN), None, patient).await;
    let kept = product.pool.pool().clone();
    let long = tokio::task::JoinSet::from_iter([async move {
        sqlx::query_scalar::<_, String>("select session_user::text from pg_sleep(1.5)").fetch_one(&kept).await
    }]);
    let first = product.role.clone();
    until("the long query runs", async || product.sessions_of(&first).await == 1).await;
    assert_eq!(product.user().await, first);
    assert_eq!(product.sessions_of(&first).await, 2, "another one idles");
    let second = format!("{first}_next");
    product.admin.role(&second, "second").await;
    let seen = product.pool.generation();
    product.vault.set(&second, "second", None);
    product.adopted(seen).await;
    assert_eq!(product.user().await, second, "new connections do not wait for the old ones");
    until("the idle one is closed, and the long query goes on", async || product.sessions_of(&first).await == 1).await;
    assert_eq!(long.join_all().await.remove(0).unwrap(), first);
    until("its connection is closed", async || product.sessions_of(&first).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_does_not_work_never_takes_the_place_of_one_that_does() {
    let mut product = Product::start("wrong", every(OFTEN), None, four()).await;
    let (role, seen) = (product.role.clone(), product.pool.generation());
    product.vault.set(&role, "hunter2", None);
    until("the new one was tried and refused", async || product.check().state == "behind").await;
    // As one that was never open has to log in.
    product.pool.pool().acquire().await.unwrap().close().await.unwrap();
    assert_eq!((product.user().await, product.pool.generation()), (role.clone(), seen));
    assert!(product.secret.generation() > seen, "the secret has moved on");
    let check = product.check();
    assert!(check.ready && !check.detail.clone().unwrap().contains("hunter2"), "{check:?}");

    // The database learns of it later than the vault.
    product.set_password("hunter2").await;
    product.adopted(seen).await;
    until("all is well again", async || product.check().state == "current").await;
    assert_eq!(product.user().await, role);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_of_a_leased_credential_are_gone_before_its_lease_ends() {
    let lease = Duration::from_secs(4);
    let mut product = Product::start("leased", every(RARELY), Some(lease), four()).await;
    let (first, second) = (product.role.clone(), format!("{}_next", product.role));
    let seen = product.pool.generation();
    let ends = product.secret.lease_ends(product.secret.generation()).unwrap();
    // One that is given back in time, one that idles, and one that is held for too long.
    let mut held = product.pool.acquire().await.unwrap();
    let given_back = product.pool.acquire().await.unwrap();
    drop(product.pool.acquire().await.unwrap());
    until("three sessions", async || product.sessions_of(&first).await == 3).await;
    product.admin.role(&second, "second").await;
    product.vault.set(&second, "second", Some(Duration::from_secs(600)));
    product.adopted(seen).await;
    until("what was idle is closed", async || product.sessions_of(&first).await == 2).await;
    drop(given_back);
    until("what was given back is closed", async || product.sessions_of(&first).await == 1).await;
    sqlx::query("select 1").execute(&mut *held).await.expect("what is held works until the end");
    until("what is held is ended", async || product.sessions_of(&first).await == 0).await;
    assert!(tokio::time::Instant::now() < ends, "before the lease ends");
    assert!(sqlx::query("select 1").execute(&mut *held).await.is_err());
    drop(held);
    assert_eq!(product.user().await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_closed_keeps_its_credential_until_its_last_connection_is_back() {
    for is_end in [false, true] {
        let product = Product::start("closed", every(RARELY), Some(RARELY), four()).await;
        let Product { vault, secret, pool: database, lifecycle, .. } = product;
        let pool = database.pool().clone();
        let mut held = pool.begin().await.unwrap();
        // Only clones of the pool are left.
        drop((secret, database));
        let closing = JoinSet::from_iter([async move { pool.close().await }]);
        let at_work = sqlx::query("select pg_sleep(0.5)").execute(&mut *held).await;
        at_work.expect("what is out works on");
        assert_eq!(vault.revoked(), 0, "its credential is in use");
        if is_end {
            // Nobody waits longer than that.
            assert!(lifecycle.stop_tasks(Duration::from_secs(20)).await);
            assert_eq!(vault.revoked(), 1);
        }
        drop(held);
        closing.join_all().await;
        until("the credential is given back", async || vault.revoked() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_makes_one_read_for_all_who_met_it() {
    let mut product = Product::start("refused", every(RARELY), None, four()).await;
    let role = product.role.clone();
    // Changed behind our back, while no connection is open.
    product.set_password("second").await;
    product.vault.set(&role, "second", None);
    let reads = product.vault.reads();
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let pool = product.pool.clone();
        tasks.spawn(async move {
            let mut connection = pool.acquire().await?;
            sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut *connection).await
        });
    }
    for answer in tasks.join_all().await {
        assert_eq!(answer.expect("helped"), 1);
    }
    assert_eq!(product.vault.reads(), reads + 1);

    // Nothing newer: the refusal is answered, soon, and without a storm.
    product.set_password("third").await;
    let open = product.pool.pool().num_idle();
    for _ in 0..open {
        product.pool.pool().acquire().await.unwrap().close().await.unwrap();
    }
    until("none is open", async || product.pool.pool().size() == 0).await;
    for _ in 0..20 {
        let error = product.pool.acquire().await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "28P01");
        assert!(!format!("{error} {error:?}").contains("second"), "{error:?}");
    }
    assert!(product.vault.reads() <= reads + 8, "{} reads", product.vault.reads() - reads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_stops_to_work_is_replaced_though_nobody_asks_for_a_connection() {
    let mut product = Product::looking("probed", every(RARELY), None, four(), Duration::from_millis(50)).await;
    let seen = product.pool.generation();
    product.set_password("second").await;
    until("it is told", async || product.check().state == "failing").await;
    product.vault.set(&product.role, "second", None);
    product.adopted(seen).await;
    until("all is well again", async || product.check().state == "current").await;
    assert_eq!(product.user().await, product.role);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_credential_that_is_refused_says_so_without_the_password() {
    let mut admin = Database::new("pool_denied").await;
    admin.role("password_denied", "right").await;
    let vault = Vault::default();
    vault.set("password_denied", "hunter2", None);
    let lifecycle = Lifecycle::new(Clock::system());
    let secrets = Secrets::builder(vault.clone()).policy(every(RARELY)).build(&lifecycle);
    let secret = secrets.get::<Credential>("db-login");
    let to: PgConnectOptions = admin.url.parse().unwrap();
    let error = Pool::builder(secret.clone(), to.clone()).connect(&lifecycle).await.unwrap_err();
    assert!(error.is_denied(), "{error:?}");
    let printed = format!("{error} {error:?} {}", halfbyte::core::error_chain(&error));
    assert!(printed.contains("28P01") && !printed.contains("hunter2"), "{printed}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = Pool::builder(secret.clone(), to.clone().port(closed)).connect(&lifecycle).await;
    assert!(nowhere.unwrap_err().is_unavailable());

    // It is right by the time that it is rejected.
    vault.set("password_denied", "right", None);
    let pool = Pool::builder(secret, to).connect(&lifecycle).await.unwrap();
    assert_eq!(pool.generation(), 2);
    sqlx::query("select 1").execute(pool.pool()).await.unwrap();
}
