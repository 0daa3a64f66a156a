//! The table of API keys in PostgreSQL: how it is reached, made, read and changed.

use std::io;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::{TenantId, error_chain};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::format::{Digest, Id};
use super::record::{Previous, Stored, forgotten_before};
use super::{MAX_OF_TENANT, no_such_key, too_many};
use crate::error::{Error, ErrorKind};

/// After this an answer has failed to come; the server gives up a little earlier by itself.
const LIMIT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT_MS: &str = "4000";
/// Connections for reading and changing; one more listens.
const CONNECTIONS: usize = 4;
/// Tells of each change, with the id of the key.
const CHANNEL: &str = "halfbyte_api_keys";

const COMMENT: &str = "HalfByte API keys, version 1; times are microseconds since 1970";
const CREATE: &str = "
    create table halfbyte_api_keys (
        id text primary key,
        tenant text not null,
        subject text not null,
        scopes text[] not null,
        roles text[] not null,
        label text not null,
        created_at bigint not null,
        expires_at bigint,
        revoked_at bigint,
        rotated_at bigint,
        digest bytea not null,
        previous_digest bytea,
        previous_issued_at bigint,
        previous_until bigint
    );
    create index halfbyte_api_keys_tenant on halfbyte_api_keys (tenant);
    create index halfbyte_api_keys_ended on halfbyte_api_keys (least(revoked_at, expires_at));
    comment on table halfbyte_api_keys is 'HalfByte API keys, version 1; times are microseconds since 1970'";
/// Both are `null` when there is no table.
const LOOK: &str = "
    select to_regclass('halfbyte_api_keys')::text, obj_description(to_regclass('halfbyte_api_keys'), 'pg_class')";
/// Any number that no other program takes: held while the table is made.
const LOCK: i64 = 0x6862_6170_696b_6579;

const INSERT: &str = "
    insert into halfbyte_api_keys (id, tenant, subject, scopes, roles, label, created_at, expires_at, digest)
    select $1, $2, $3, $4, $5, $6, $7, $8, $9
    where (select count(*) from (select from halfbyte_api_keys where tenant = $2 limit $10)) < $10";
/// A few at a time, so that no request for a new key waits for it long.
const FORGET: &str = "
    delete from halfbyte_api_keys where id in
    (select id from halfbyte_api_keys where least(revoked_at, expires_at) < $1 limit 100 for update skip locked)";
const UPDATE: &str = "
    update halfbyte_api_keys set revoked_at = $2, rotated_at = $3, digest = $4,
        previous_digest = $5, previous_issued_at = $6, previous_until = $7
    where id = $1";

/// The database. Its errors hold no password, and it logs no statement.
pub(super) struct Database {
    options: PgConnectOptions,
    slots: Semaphore,
    /// Connections that ended their last work well. Not the pool of sqlx: that one asks a connection whether it is well when
    /// it is given back, without a time limit, so that a network that swallows packets takes its places away for minutes.
    idle: Mutex<Vec<PgConnection>>,
}

impl Database {
    pub(super) fn new(url: &SecretString) -> Result<Self, Error> {
        Ok(Self { options: options(url)?, slots: Semaphore::new(CONNECTIONS), idle: Mutex::default() })
    }

    /// Makes the table when there is none. Several processes may do so at once.
    pub(super) async fn prepare(&self) -> Result<(), sqlx::Error> {
        limited(async {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
            let found: (Option<String>, Option<String>) = sqlx::query_as(LOOK).fetch_one(&mut *transaction).await?;
            match found {
                (None, _) => {
                    sqlx::raw_sql(CREATE).execute(&mut *transaction).await?;
                }
                (Some(_), Some(comment)) if comment == COMMENT => {}
                (Some(_), _) => {
                    let message = "the table halfbyte_api_keys is not of version 1: its comment says otherwise";
                    return Err(sqlx::Error::Configuration(message.into()));
                }
            }
            transaction.commit().await?;
            lease.keep();
            Ok(())
        })
        .await
    }

    pub(super) async fn read(&self, id: Id) -> Result<Option<Stored>, sqlx::Error> {
        limited(async {
            let mut lease = self.lease().await?;
            let row = sqlx::query("select * from halfbyte_api_keys where id = $1").bind(id.as_str());
            let stored = row.fetch_optional(&mut *lease).await?.map(|row| stored(&row)).transpose()?;
            lease.keep();
            Ok(stored)
        })
        .await
    }

    pub(super) async fn list(&self, tenant: &TenantId) -> Result<Vec<(Id, Stored)>, sqlx::Error> {
        limited(async {
            let mut lease = self.lease().await?;
            let rows = sqlx::query("select * from halfbyte_api_keys where tenant = $1 limit $2");
            // Twice as many as are made, as that bound is passed by a few when several processes make keys at once.
            let rows = rows.bind(tenant.as_str()).bind(count(MAX_OF_TENANT * 2)).fetch_all(&mut *lease).await?;
            lease.keep();
            let listed = |row: &PgRow| {
                let id = Id::parse(row.try_get("id")?).ok_or_else(|| corrupt("the id of a key"))?;
                Ok((id, stored(row)?))
            };
            rows.iter().map(listed).collect()
        })
        .await
    }

    pub(super) async fn insert(&self, id: Id, key: &Stored, now: Timestamp) -> Result<(), Error> {
        let inserted = limited(async {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let before = forgotten_before(now).as_microsecond();
            sqlx::query(FORGET).bind(before).execute(&mut *transaction).await?;
            let inserted = sqlx::query(INSERT)
                .bind(id.as_str())
                .bind(key.tenant.as_str())
                .bind(&key.subject)
                .bind(&key.scopes)
                .bind(&key.roles)
                .bind(&key.label)
                .bind(key.created_at.as_microsecond())
                .bind(key.expires_at.map(Timestamp::as_microsecond))
                .bind(key.digest.as_bytes())
                .bind(count(MAX_OF_TENANT))
                .execute(&mut *transaction)
                .await?;
            tell(&mut transaction, id).await?;
            transaction.commit().await?;
            lease.keep();
            Ok(inserted.rows_affected())
        });
        if inserted.await.map_err(failed)? == 1 { Ok(()) } else { Err(too_many()) }
    }

    /// Changes one key under its row's lock; when `change` fails, it is left as it is.
    pub(super) async fn update(
        &self,
        id: Id,
        change: impl FnOnce(&mut Stored) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let updated = limited(async {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let row = sqlx::query("select * from halfbyte_api_keys where id = $1 for update").bind(id.as_str());
            let Some(row) = row.fetch_optional(&mut *transaction).await? else {
                return Ok(Err(no_such_key(id.as_str())));
            };
            let mut key = stored(&row)?;
            if let Err(error) = change(&mut key) {
                return Ok(Err(error));
            }
            let previous = key.previous.as_ref();
            sqlx::query(UPDATE)
                .bind(id.as_str())
                .bind(key.revoked_at.map(Timestamp::as_microsecond))
                .bind(key.rotated_at.map(Timestamp::as_microsecond))
                .bind(key.digest.as_bytes())
                .bind(previous.map(|previous| previous.digest.as_bytes()))
                .bind(previous.map(|previous| previous.issued_at.as_microsecond()))
                .bind(previous.map(|previous| previous.until.as_microsecond()))
                .execute(&mut *transaction)
                .await?;
            tell(&mut transaction, id).await?;
            transaction.commit().await?;
            lease.keep();
            Ok(Ok(()))
        });
        updated.await.map_err(failed)?
    }

    /// A connection of its own that hears of every change from now on.
    pub(super) async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        limited(async {
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        })
        .await
    }

    async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        let slot = self.slots.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = idle
            && connection.ping().await.is_ok()
        {
            return Ok(Lease { connection, database: self, _slot: slot });
        }
        Ok(Lease { connection: self.options.connect().await?, database: self, _slot: slot })
    }
}

/// A connection for one piece of work. One that is not kept is closed: after an error, at a time limit, and when the work
/// is given up halfway.
struct Lease<'a> {
    connection: PgConnection,
    database: &'a Database,
    _slot: SemaphorePermit<'a>,
}

impl Lease<'_> {
    fn keep(self) {
        self.database.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
    }
}

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Arrives when, and only when, the transaction is committed.
async fn tell(connection: &mut PgConnection, id: Id) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(id.as_str()).execute(connection).await.map(drop)
}

async fn limited<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 seconds").into()))
}

fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    let time = |name| row.try_get::<Option<i64>, _>(name)?.map(timestamp).transpose();
    let digest = |bytes: &[u8]| Digest::try_from(bytes).map_err(corrupt);
    let previous = match (row.try_get("previous_digest")?, time("previous_issued_at")?, time("previous_until")?) {
        (Some(bytes), Some(issued_at), Some(until)) => Some(Previous { digest: digest(bytes)?, issued_at, until }),
        (None, None, None) => None,
        _ => return Err(corrupt("the secret before a rotation")),
    };
    let stored = Stored {
        tenant: TenantId::new(row.try_get::<&str, _>("tenant")?).map_err(|_| corrupt("the tenant of a key"))?,
        subject: row.try_get("subject")?,
        scopes: row.try_get("scopes")?,
        roles: row.try_get("roles")?,
        label: row.try_get("label")?,
        created_at: timestamp(row.try_get("created_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        rotated_at: time("rotated_at")?,
        digest: digest(row.try_get("digest")?)?,
        previous,
    };
    stored.fault().map_or(Ok(stored), |what| Err(corrupt(what)))
}

fn timestamp(micros: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(micros).map_err(|_| corrupt("a time"))
}

fn corrupt(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("a row of the table halfbyte_api_keys is corrupt ({what})").into())
}

fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Whether waiting may mend it.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // Starting up, shutting down, out of connections.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P") || code == "53300"),
        _ => false,
    }
}

pub(super) fn failed(error: sqlx::Error) -> Error {
    let message = format!("the database of the API keys cannot be used: {}", error_chain(&error));
    Error::new(ErrorKind::Storage, message).caused_by(error)
}

/// What of the URL is understood; the rest is refused rather than ignored. No part of it is repeated: in a URL that is
/// written wrongly, a piece of the password may stand anywhere.
fn options(url: &SecretString) -> Result<PgConnectOptions, Error> {
    let wrong = |what: &str| {
        Err(Error::new(ErrorKind::Storage, format!("the URL of the API keys' database cannot be used: {what}")))
    };
    let Ok(parsed) = Url::parse(url.expose_secret()) else { return wrong("it is not a URL") };
    let mut mode = None;
    for (name, value) in parsed.query_pairs() {
        match &*name {
            "sslmode" => mode = Some(value.into_owned()),
            "sslrootcert" | "sslcert" | "sslkey" | "application_name" => {}
            _ => {
                return wrong(
                    "it may say sslmode, sslrootcert, sslcert, sslkey and application_name, and nothing else",
                );
            }
        }
    }
    let Ok(mut options) = PgConnectOptions::from_str(url.expose_secret()) else {
        return wrong("the port, the sslmode or an escaped character is not one");
    };
    match mode.as_deref() {
        Some("prefer" | "allow") => {
            return wrong("sslmode prefer and allow do without encryption when told so by anybody; say verify-full");
        }
        Some(_) => {}
        // Nobody else can listen on the way.
        None if is_local(&parsed) => options = options.ssl_mode(PgSslMode::Prefer),
        None => options = options.ssl_mode(PgSslMode::VerifyFull),
    }
    if options.get_application_name().is_none() {
        options = options.application_name("halfbyte");
    }
    let limits = [
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("lock_timeout", STATEMENT_TIMEOUT_MS),
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT_MS),
    ];
    Ok(options.options(limits).disable_statement_logging())
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_socket = host.is_empty() || host.to_ascii_lowercase().starts_with("%2f");
    is_socket || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PgConnectOptions, Error> {
        options(&url.into())
    }

    #[test]
    fn the_certificate_is_checked_unless_the_database_is_on_this_machine_or_the_url_says_otherwise() {
        let mode = |url| format!("{:?}", parse(url).unwrap().get_ssl_mode());
        for remote in
            ["postgres://app@db.example/app", "postgresql://app@10.0.0.1/app", "postgres://app@localhost.evil/"]
        {
            assert_eq!(mode(remote), "VerifyFull", "{remote}");
        }
        for local in
            ["postgres://app@localhost/", "postgres://app@127.0.0.1/", "postgres://app@[::1]/", "postgres:///app"]
        {
            assert_eq!(mode(local), "Prefer", "{local}");
        }
        assert_eq!(mode("postgres://app@db.example/app?sslmode=disable"), "Disable");
        assert_eq!(mode("postgres://app@db.example/app?sslmode=require"), "Require");
        for weak in ["prefer", "allow"] {
            assert!(parse(&format!("postgres://app@db.example/app?sslmode={weak}")).is_err());
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_a_word_of_it() {
        let urls = [
            "postgres://app:hunter2",
            "postgres://app:hunter2@db.example/app?pasword=hunter2",
            "postgres://app:x?hunter2@db.example/app",
            "postgres://app:x#hunter2@db.example:99999999/app",
            "postgres://app:hunter2@db.example/app?sslmode=hunter2",
            "postgres://app:hunter2@db.example/%ff",
            "hunter2",
        ];
        for url in urls {
            let Err(error) = parse(url) else { continue };
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        for url in &urls[1..] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
