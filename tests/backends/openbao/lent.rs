//! Credentials for a real PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use halfbyte::secrets::openbao::{Auth, OpenBao};
use halfbyte::secrets::postgres::Database as Pool;
use halfbyte::secrets::{Credential, ExposeSecret as _, Json, Provider as _, Secret, Secrets, Stage};
use secrecy::zeroize::Zeroize;
use serde::Deserialize;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Bao, lifecycle, read, until};
use crate::database::Database;

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

impl Zeroize for Login {
    fn zeroize(&mut self) {
        self.username.zeroize();
        self.password.zeroize();
    }
}

/// A database with a table, a role that makes users who may read it, and who may ask for one.
pub(super) async fn database(bao: &Bao, name: &str, ttl: u64, max_ttl: u64, token: (u64, u64)) -> (Database, Auth) {
    let mut database = Database::new(&format!("hb_openbao_{name}")).await;
    database.run("create table parcels (id int); insert into parcels values (7)").await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let config = json!({
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": [name],
        "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@{}/hb_openbao_{name}?sslmode=disable", database.address()),
        "username": options.get_username(),
        "password": "unused",
    });
    bao.post(&format!("database/config/{name}"), config).await;
    let role = json!({
        "db_name": name,
        "default_ttl": ttl,
        "max_ttl": max_ttl,
        "creation_statements": [
            r#"create role "{{name}}" with login password '{{password}}' valid until '{{expiration}}'"#,
            r#"grant select on parcels to "{{name}}""#,
        ],
    });
    bao.post(&format!("database/roles/{name}"), role).await;
    let path = format!("database/creds/{name}");
    let auth = bao.role(name, &[path.as_str()], token.0, token.1).await;
    (database, auth)
}

fn openbao(bao: &Bao, name: &str, auth: Auth) -> OpenBao {
    OpenBao::new(bao.settings("secret", auth).dynamic("db", &format!("database/creds/{name}")).unwrap()).unwrap()
}

/// One query by a connection of its own.
async fn query(database: &str, login: &Login) -> Result<i32, sqlx::Error> {
    let options: PgConnectOptions = database.parse()?;
    let mut sql = PgConnection::connect_with(&options.username(&login.username).password(&login.password)).await?;
    let id = sqlx::query_scalar("select id from parcels").fetch_one(&mut sql).await?;
    sql.close().await?;
    Ok(id)
}

/// Queries without pause until told to stop.
async fn client(url: String, secret: Secret<Json<Login>>, stop: Arc<AtomicBool>, queries: Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        let login = secret.load().expect("always there");
        let id = query(&url, &login.expose_secret().0).await;
        assert!(matches!(id, Ok(7)), "generation {}: {id:?}", login.generation());
        queries.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
    }
}

/// The same through a pool that follows the credential; every other one by a clone of the pool that somebody keeps.
async fn client_of_pool(pool: Pool, stop: Arc<AtomicBool>, queries: Arc<AtomicUsize>) {
    let kept = pool.pool().clone();
    for number in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let query = sqlx::query_scalar::<_, i32>("select id from parcels");
        let id = match number % 2 {
            0 => query.fetch_one(&mut *pool.acquire().await.expect("a connection")).await,
            _ => query.fetch_one(&kept).await,
        };
        assert!(matches!(id, Ok(7)), "generation {}: {id:?}", pool.generation());
        queries.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_fails_for_a_minute_of_credentials_that_last_five_seconds() {
    let bao = Bao::shared();
    // Renewed up to 15 s, then replaced; so is the login token, up to 25 s.
    let (mut database, auth) = database(&bao, "minute", 5, 15, (10, 25)).await;
    let life = lifecycle();
    let secrets = Secrets::new(openbao(&bao, "minute", auth), &life);
    let secret = secrets.get::<Json<Login>>("db");
    secret.ready().await.unwrap();
    // A pool has a lease of its own, since the type is another one.
    let to: PgConnectOptions = database.url.parse().unwrap();
    let pool = Pool::builder(secrets.get::<Credential>("db"), to.application_name("minute"))
        .pool(PgPoolOptions::new().max_connections(4))
        .connect(&life)
        .await
        .unwrap();
    let (stop, queries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let pooled = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(client(database.url.clone(), secret.clone(), stop.clone(), queries.clone()));
        clients.spawn(client_of_pool(pool.clone(), stop.clone(), pooled.clone()));
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(200)).await;
        assert!(clients.try_join_next().is_none(), "a client ended: a query failed");
    }
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    let generations = secret.generation();
    assert!((4..=12).contains(&generations), "renewed up to its max_ttl and then replaced: {generations}");
    assert!(queries.load(Ordering::SeqCst) > 500, "they were steady");
    let generations = pool.generation();
    assert!((4..=12).contains(&generations), "the pool has followed its own: {generations}");
    assert!(pooled.load(Ordering::SeqCst) > 1000, "those of the pool too");

    // What is lent is given back, and its users are gone before they end by themselves.
    assert!(life.stop_tasks(Duration::from_secs(5)).await);
    until("all users are dropped", async || {
        database.count("select count(*) from pg_roles where rolname like 'v-%minute%'").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_up_to_its_max_ttl_and_ends_with_a_revocation() {
    let bao = Bao::shared();
    let (database, auth) = database(&bao, "revoked", 600, 601, (1200, 1200)).await;
    let openbao = openbao(&bao, "revoked", auth);
    let reading = read(&openbao, "db", Stage::Current).await.unwrap();
    let login: Login = serde_json::from_slice(reading.value().unwrap()).unwrap();
    let lease = reading.lent().unwrap();
    assert_eq!(lease.ttl(), Duration::from_secs(600));
    assert_eq!(query(&database.url, &login).await.unwrap(), 7);
    let renewed = openbao.renew(lease).await.unwrap();
    assert_eq!(renewed.id(), lease.id());
    assert!(renewed.ttl() <= Duration::from_secs(601) && renewed.ttl() > Duration::from_secs(590));

    openbao.revoke(&renewed).await.unwrap();
    until("the user is dropped", async || query(&database.url, &login).await.is_err()).await;
    let error = openbao.renew(&renewed).await.unwrap_err();
    assert!(error.is_not_found(), "another one is read then: {error}");
    openbao.close().await;
}

#[tokio::test]
async fn what_was_lent_to_a_token_that_ended_is_replaced_when_it_is_next_due() {
    let bao = Bao::shared();
    let (database, auth) = database(&bao, "orphan", 600, 600, (1200, 1200)).await;
    bao.revoke_tokens_of("orphan").await;
    let life = lifecycle();
    let secret = Secrets::new(openbao(&bao, "orphan", auth), &life).get::<Json<Login>>("db");
    secret.ready().await.unwrap();
    let first = secret.load().unwrap();
    assert_eq!(bao.revoke_tokens_of("orphan").await, 1);
    until("its user is dropped", async || query(&database.url, &first.expose_secret().0).await.is_err()).await;
    // Whoever meets that says so.
    let second = secret.reject(first.generation()).await.unwrap();
    assert_eq!(query(&database.url, &second.expose_secret().0).await.unwrap(), 7);
}

#[tokio::test]
async fn a_lease_is_no_longer_than_the_token_that_it_is_lent_to() {
    let bao = Bao::shared();
    let (_database, auth) = database(&bao, "short", 600, 600, (5, 5)).await;
    let openbao = openbao(&bao, "short", auth);
    let lease = read(&openbao, "db", Stage::Current).await.unwrap().lent().unwrap().clone();
    assert!(lease.ttl() <= Duration::from_secs(5), "{lease:?}");
    let role = "short";
    until("a new login", async || {
        // The first token has met its max_ttl and was replaced before it ended.
        openbao.renew(&lease).await.is_err_and(|error| error.is_not_found())
    })
    .await;
    let next = read(&openbao, "db", Stage::Current).await.unwrap().lent().unwrap().clone();
    assert!(next.id() != lease.id() && next.id().contains(role));
}

#[tokio::test]
async fn a_role_that_is_not_there_is_not_found() {
    let bao = Bao::shared();
    let auth = bao.role("nobody", &["database/creds/nobody"], 600, 600).await;
    let error = read(&openbao(&bao, "nobody", auth), "db", Stage::Current).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("role"), "{error}");
}
