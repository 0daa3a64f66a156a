//! API keys in a real PostgreSQL, each test in a database of its own; several products stand for several processes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halfbyte::core::config::{ApiKeysBackend, Environment};
use halfbyte::core::home::Home;
use halfbyte::core::lifecycle::Check;
use halfbyte::core::{Clock, Lifecycle, TenantId};
use halfbyte::identity::api_keys::ApiKeySpec;
use halfbyte::identity::{ApiKeys, Error, ErrorKind};
use halfbyte::problem::Kind;
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::database::Database;

struct Product {
    keys: ApiKeys,
    lifecycle: Lifecycle,
}

async fn open(url: &str, lifecycle: &Lifecycle) -> Result<ApiKeys, Error> {
    let backend = ApiKeysBackend::Postgres(url.into());
    let keys = ApiKeys::open(&backend, Environment::Production, &Home::unopened("unused"), lifecycle).await?;
    Ok(keys.unwrap())
}

impl Product {
    async fn on(url: &str) -> Self {
        let lifecycle = Lifecycle::new(Clock::manual(Clock::system().now()));
        Self { keys: open(url, &lifecycle).await.unwrap(), lifecycle }
    }

    /// One that has heard of everything so far and hears of what comes.
    async fn hearing(url: &str) -> Self {
        let product = Self::on(url).await;
        product.until("fresh").await;
        product
    }

    fn check(&self) -> Check {
        self.lifecycle.health().report().remove(0)
    }

    async fn until(&self, state: &str) {
        let reached = async {
            while self.check().state != state {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(15), reached).await.unwrap_or_else(|_| panic!("{:?}", self.check()));
    }

    async fn create(&self) -> (String, SecretString) {
        let (key, secret) = self.keys.create(spec()).await.unwrap();
        (key.id, secret)
    }

    /// `Ok` or the kind of the refusal.
    async fn ask(&self, key: &SecretString) -> Result<(), Kind> {
        self.keys.authenticate(key.expose_secret()).await.map(drop).map_err(|problem| problem.kind())
    }

    /// Whether the key is known without asking the database.
    fn knows(&self, key: &SecretString) -> bool {
        self.keys.authenticate_now(key.expose_secret()).is_some()
    }

    /// Asks for a key until it is known without asking the database: the word that it was made may be on its way.
    async fn learn(&self, key: &SecretString) {
        for _ in 0..10 {
            assert_eq!(self.ask(key).await, Ok(()));
            sleep(Duration::from_millis(20)).await;
            if self.knows(key) {
                return;
            }
        }
        panic!("it is not remembered");
    }

    /// How long until the key is no longer accepted; it is asked without pause.
    async fn until_refused(&self, key: &SecretString) -> Duration {
        let start = Instant::now();
        while self.ask(key).await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(20), "it is still accepted");
            sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }

    fn jump(&self, days: i64) {
        self.lifecycle.clock().jump(SignedDuration::from_hours(24 * days));
    }
}

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn spec() -> ApiKeySpec {
    ApiKeySpec::new(tenant()).scopes(["labels:read", "labels:write"]).roles(["importer"]).label("nächtlicher Import")
}

/// A key that is well-formed and nobody's.
async fn made_up(elsewhere: &ApiKeys) -> SecretString {
    elsewhere.create(spec()).await.unwrap().1
}

/// A store that is not the database: production's keys in a file, as no configuration has them.
async fn elsewhere(folder: &tempfile::TempDir) -> ApiKeys {
    let home = Home::open(folder.path().join("home")).unwrap();
    let lifecycle = Lifecycle::new(Clock::system());
    ApiKeys::open(&ApiKeysBackend::Embedded, Environment::Production, &home, &lifecycle).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_key_lives_as_in_the_embedded_store() {
    let database = Database::new("hb_keys_life").await;
    let product = Product::on(&database.url).await;
    let expires_at = product.lifecycle.clock().now() + SignedDuration::from_hours(24 * 20);
    let (key, first) = product.keys.create(spec().expires_at(expires_at)).await.unwrap();
    let caller = product.keys.authenticate(first.expose_secret()).await.unwrap();
    assert_eq!(caller.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
    assert!(caller.has_role("importer") && caller.tenant() == &tenant());
    assert_eq!((caller.credential_id(), Some(caller.expires_at())), (Some(key.id.as_str()), key.expires_at));
    assert_eq!(product.keys.list(&tenant()).await.unwrap(), std::slice::from_ref(&key));

    let week = Duration::from_secs(7 * 86_400);
    let second = product.keys.rotate(&key.id, week).await.unwrap();
    assert_eq!((product.ask(&first).await, product.ask(&second).await), (Ok(()), Ok(())));
    let third = product.keys.rotate(&key.id, week).await.unwrap();
    assert_eq!(product.ask(&first).await, Err(Kind::InvalidToken), "the oldest ends at once");
    product.jump(8);
    assert_eq!((product.ask(&second).await, product.ask(&third).await), (Err(Kind::InvalidToken), Ok(())));
    product.jump(13);
    let expired = product.keys.authenticate(third.expose_secret()).await.unwrap_err();
    assert_eq!(expired.detail(), "the API key has expired");
    assert_eq!(product.keys.rotate(&key.id, week).await.unwrap_err().kind(), ErrorKind::ApiKey);

    product.keys.revoke(&key.id).await.unwrap();
    let revoked = product.keys.list(&tenant()).await.unwrap();
    product.jump(1);
    product.keys.revoke(&key.id).await.unwrap();
    assert_eq!(product.keys.list(&tenant()).await.unwrap(), revoked, "revoking again changes nothing");
    assert_eq!(product.ask(&third).await, Err(Kind::InvalidToken));
    assert_eq!(product.keys.revoke("nosuchkey000").await.unwrap_err().kind(), ErrorKind::ApiKey);

    product.jump(40);
    let (other, _) = product.create().await;
    let left = product.keys.list(&tenant()).await.unwrap();
    assert_eq!(left.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [other], "what ended long ago is forgotten");
}

#[tokio::test]
async fn many_processes_at_once_make_one_table_and_lose_no_change() {
    let database = Database::new("hb_keys_many").await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let url = database.url.clone();
        starting.spawn(async move { Product::on(&url).await });
    }
    let products = starting.join_all().await;
    let mut work = JoinSet::new();
    for product in &products {
        let keys = product.keys.clone();
        work.spawn(async move {
            let (key, first) = keys.create(spec()).await.unwrap();
            let second = keys.rotate(&key.id, Duration::from_secs(60)).await.unwrap();
            (first, second)
        });
    }
    for (first, second) in work.join_all().await {
        for product in &products {
            assert_eq!((product.ask(&first).await, product.ask(&second).await), (Ok(()), Ok(())));
        }
    }
}

#[tokio::test]
async fn a_change_is_in_force_here_at_once_and_elsewhere_within_moments() {
    let database = Database::new("hb_keys_pushed").await;
    let (one, other) = (Product::hearing(&database.url).await, Product::hearing(&database.url).await);
    for _ in 0..10 {
        let (id, secret) = one.create().await;
        assert_eq!(one.ask(&secret).await, Ok(()));
        other.learn(&secret).await;
        one.keys.revoke(&id).await.unwrap();
        assert_eq!(one.ask(&secret).await, Err(Kind::InvalidToken));
        let elapsed = other.until_refused(&secret).await;
        assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    }
    let (id, old) = one.create().await;
    other.learn(&old).await;
    let new = one.keys.rotate(&id, Duration::ZERO).await.unwrap();
    assert!(other.until_refused(&old).await < Duration::from_secs(1));
    assert_eq!(other.ask(&new).await, Ok(()));
}

#[tokio::test]
async fn a_row_that_is_changed_by_hand_is_noticed_when_it_is_told() {
    let mut database = Database::new("hb_keys_by_hand").await;
    let product = Product::hearing(&database.url).await;
    let (_, secret) = product.create().await;
    product.learn(&secret).await;
    database.run("update halfbyte_api_keys set revoked_at = 1; notify halfbyte_api_keys").await;
    assert!(product.until_refused(&secret).await < Duration::from_secs(1));
}

#[tokio::test]
async fn a_revocation_is_in_force_within_5_seconds_though_the_connections_are_cut_again_and_again() {
    let mut database = Database::new("hb_keys_cut").await;
    let (one, other) = (Product::hearing(&database.url).await, Product::hearing(&database.url).await);
    for _ in 0..3 {
        let (id, secret) = one.create().await;
        other.learn(&secret).await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid()";
        database.run(cut).await;
        one.keys.revoke(&id).await.unwrap();
        database.run(cut).await;
        let elapsed = other.until_refused(&secret).await;
        assert!(elapsed < Duration::from_millis(5500), "{elapsed:?}");
        one.until("fresh").await;
        other.until("fresh").await;
    }
}

#[tokio::test]
async fn a_revocation_is_in_force_within_5_seconds_though_the_network_swallows_everything() {
    let database = Database::new("hb_keys_silence").await;
    let network = Network::before(database.address()).await;
    let one = Product::hearing(&database.url).await;
    let other = Product::hearing(&database.at(network.address)).await;
    let (id, secret) = one.create().await;
    other.learn(&secret).await;
    network.frozen.send_replace(true);
    one.keys.revoke(&id).await.unwrap();
    let start = Instant::now();
    while other.knows(&secret) {
        assert!(start.elapsed() < Duration::from_millis(5500), "{:?}", start.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    // More than can ask at once, and none waits for the others' limits to pass.
    for _ in 0..3 {
        let mut asking = JoinSet::new();
        for _ in 0..10 {
            let (keys, secret) = (other.keys.clone(), secret.clone());
            asking.spawn(async move { keys.authenticate(secret.expose_secret()).await.unwrap_err().kind() });
        }
        let start = Instant::now();
        assert!(asking.join_all().await.iter().all(|kind| *kind == Kind::Unavailable));
        assert!(start.elapsed() < Duration::from_millis(5500), "{:?}", start.elapsed());
    }
    assert_eq!(other.check().state, "disconnected");
    network.frozen.send_replace(false);
    other.until("fresh").await;
    assert_eq!(other.ask(&secret).await, Err(Kind::InvalidToken));
    let (_, secret) = one.create().await;
    assert_eq!(other.ask(&secret).await, Ok(()));
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_waited_for() {
    let database = Database::new("hb_keys_late").await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let product = Product::on(&database.at(port)).await;
    let check = product.check();
    assert!(!check.ready && check.state == "cold" && check.detail.is_some(), "{check:?}");
    let folder = tempfile::tempdir().unwrap();
    let stranger = made_up(&elsewhere(&folder).await).await;
    assert_eq!(product.ask(&stranger).await, Err(Kind::Unavailable));
    let _network = Network::listen(port, database.address()).await;
    product.until("fresh").await;
    assert!(product.check().ready && product.check().detail.is_none());
    assert_eq!(product.ask(&stranger).await, Err(Kind::InvalidToken));
    let (_, secret) = product.create().await;
    assert_eq!(product.ask(&secret).await, Ok(()));
}

#[tokio::test]
async fn a_database_that_refuses_is_an_error_at_once_and_never_shows_the_password() {
    let mut database = Database::new("hb_keys_refusing").await;
    let lifecycle = Lifecycle::new(Clock::system());
    let with_password = database.url.replace("postgres@", "postgres:hunter2@");
    let no_database = with_password.replace("hb_keys_refusing", "hb_keys_nowhere");
    let no_role = with_password.replace("//postgres", "//nobody_of_that_name");
    for url in [no_database, no_role, format!("{with_password}?sslmode=require")] {
        let error = open(&url, &lifecycle).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let keys = open(&with_password, &lifecycle).await.unwrap();
    assert!(!format!("{keys:?} {lifecycle:?}").contains("hunter2"));
    database.run("comment on table halfbyte_api_keys is 'HalfByte API keys, version 2'").await;
    let error = open(&database.url, &lifecycle).await.unwrap_err();
    assert!(error.to_string().contains("not of version 1"), "{error}");
}

#[tokio::test]
async fn a_role_that_may_make_no_tables_will_do_where_there_is_one() {
    let mut database = Database::new("hb_keys_role").await;
    let owner = Product::on(&database.url).await;
    let (_, secret) = owner.create().await;
    database
        .run(
            "drop role if exists hb_keys_app; create role hb_keys_app login;
             grant select, insert, update, delete on halfbyte_api_keys to hb_keys_app",
        )
        .await;
    let product = Product::hearing(&database.url.replace("postgres@", "hb_keys_app@")).await;
    assert_eq!(product.ask(&secret).await, Ok(()));
    let (id, secret) = product.create().await;
    product.keys.rotate(&id, Duration::ZERO).await.unwrap();
    product.keys.revoke(&id).await.unwrap();
    assert_eq!(product.ask(&secret).await, Err(Kind::InvalidToken));
    database.run("drop owned by hb_keys_app; drop role hb_keys_app").await;
}

#[tokio::test]
async fn what_is_kept_holds_no_key() {
    let mut database = Database::new("hb_keys_hashed").await;
    let product = Product::on(&database.url).await;
    let (id, first) = product.create().await;
    let second = product.keys.rotate(&id, Duration::from_secs(60)).await.unwrap();
    let rows = "select string_agg(t::text || encode(digest, 'escape') || encode(previous_digest, 'escape'), '')
                from halfbyte_api_keys t";
    let kept: String = sqlx::query_scalar(rows).fetch_one(&mut database.sql).await.unwrap();
    assert!(kept.contains(&id));
    for secret in [&first, &second] {
        let secret = secret.expose_secret().rsplit('_').next().unwrap();
        assert!(!kept.contains(&secret[..20]), "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_keys_that_are_made_up_is_bounded_and_leaves_room_for_those_that_are_not() {
    let mut database = Database::new("hb_keys_flood").await;
    let product = Product::hearing(&database.url).await;
    let (id, secret) = product.create().await;
    product.learn(&secret).await;
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere(&folder).await;
    let mut strangers = Vec::new();
    for _ in 0..400 {
        strangers.push(made_up(&elsewhere).await);
    }
    // The table is locked, so that nobody gets through and all who may wait do.
    let mut locked = PgConnection::connect(&database.url).await.unwrap();
    let mut lock = locked.begin().await.unwrap();
    sqlx::raw_sql("lock table halfbyte_api_keys in access exclusive mode").execute(&mut *lock).await.unwrap();
    let mut flood = JoinSet::new();
    for stranger in strangers {
        let keys = product.keys.clone();
        flood.spawn(async move { keys.authenticate(stranger.expose_secret()).await.unwrap_err().kind() });
    }
    sleep(Duration::from_millis(500)).await;
    let waiting = "select count(*) from pg_stat_activity where application_name = 'halfbyte'
                   and datname = current_database() and wait_event_type = 'Lock'";
    assert_eq!(database.count(waiting).await, 2, "two of five connections are for strangers");
    // The key is no longer believed here, and still gets past all who wait.
    database.run("notify halfbyte_api_keys").await;
    while product.knows(&secret) {
        sleep(Duration::from_millis(10)).await;
    }
    let (keys, asked) = (product.keys.clone(), secret.clone());
    let mut seen = JoinSet::new();
    seen.spawn(async move { keys.authenticate(asked.expose_secret()).await.is_ok() });
    sleep(Duration::from_millis(300)).await;
    assert_eq!(database.count(waiting).await, 3, "the key that somebody has is asked for");
    lock.rollback().await.unwrap();
    assert_eq!(seen.join_all().await, [true]);
    let answers = flood.join_all().await;
    let refused = answers.iter().filter(|kind| **kind == Kind::InvalidToken).count();
    let turned_away = answers.iter().filter(|kind| **kind == Kind::Unavailable).count();
    assert_eq!((refused, turned_away), (256, 144), "256 wait, the others are turned away");
    let open = "select count(*) from pg_stat_activity
                where application_name = 'halfbyte' and datname = current_database()";
    assert!(database.count(open).await <= 5);
    product.keys.revoke(&id).await.unwrap();
    assert_eq!(product.ask(&secret).await, Err(Kind::InvalidToken));
}

#[tokio::test]
async fn requests_that_are_given_up_take_no_connection_with_them() {
    let mut database = Database::new("hb_keys_given_up").await;
    let product = Product::hearing(&database.url).await;
    let (_, secret) = product.create().await;
    for _ in 0..4 {
        database.run("begin; lock table halfbyte_api_keys in access exclusive mode").await;
        let mut asking = JoinSet::new();
        for _ in 0..20 {
            let (keys, secret) = (product.keys.clone(), secret.clone());
            asking.spawn(async move {
                let asked = keys.authenticate(secret.expose_secret());
                timeout(Duration::from_millis(50), asked).await.is_ok()
            });
        }
        assert!(asking.join_all().await.iter().all(|answered| !answered), "the table is locked");
        database.run("rollback").await;
    }
    assert_eq!(timeout(Duration::from_secs(1), product.ask(&secret)).await, Ok(Ok(())));
}

#[tokio::test]
async fn the_listening_ends_with_the_last_handle_and_with_the_life() {
    let mut database = Database::new("hb_keys_end").await;
    let product = Product::hearing(&database.url).await;
    let lifecycle = product.lifecycle.clone();
    drop(product);
    assert!(
        lifecycle.health().report().is_empty() || {
            sleep(Duration::from_millis(200)).await;
            lifecycle.health().report().is_empty()
        }
    );
    let product = Product::hearing(&database.url).await;
    assert!(product.lifecycle.stop_tasks(Duration::from_secs(1)).await);
    let (_, secret) = product.create().await;
    assert_eq!(product.ask(&secret).await, Ok(()), "what is left of the life can still be served");
    assert_eq!(product.check().state, "disconnected");
    drop(product);
    let left = async {
        let open = "select count(*) from pg_stat_activity
                    where application_name = 'halfbyte' and datname = current_database()";
        while database.count(open).await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), left).await.unwrap();
}

/// What is between a product and its database: bytes go through unless it is frozen, and then they are swallowed without a
/// word, on old connections and on new ones.
struct Network {
    address: SocketAddr,
    frozen: Arc<watch::Sender<bool>>,
    _carrying: JoinSet<()>,
}

impl Network {
    async fn before(target: SocketAddr) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), target).await
    }

    async fn listen(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let frozen = Arc::new(watch::Sender::new(false));
        let mut carrying = JoinSet::new();
        let state = frozen.clone();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(target).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                connections.spawn(carry(from_client, to_server, state.subscribe()));
                connections.spawn(carry(from_server, to_client, state.subscribe()));
            }
        });
        Self { address, frozen, _carrying: carrying }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        // Held back and not dropped: TCP would send it again.
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
