//! Customers and what they subscribe to.

use jiff::Timestamp;
use sqlx::{Row as _, Sqlite, Transaction};

use super::{Attempt, Store};
use crate::{Error, ErrorKind};

impl Store {
    /// Counts the changes of customers and subscriptions.
    pub(crate) async fn revision(&self) -> Result<i64, Error> {
        let row = sqlx::query("SELECT number FROM revision").fetch_one(&self.pool).await;
        row.and_then(|row| row.try_get(0)).attempt("reading", &self.file)
    }

    /// All customers by name, with the plan of those that have one, and the revision that this is of.
    pub(crate) async fn accounts(&self) -> Result<(i64, Vec<(String, Option<String>)>), Error> {
        // One transaction: the revision must be that of the rows.
        let mut snapshot = self.pool.begin().await.attempt("reading", &self.file)?;
        let revision = sqlx::query("SELECT number FROM revision").fetch_one(&mut *snapshot).await;
        let revision = revision.and_then(|row| row.try_get(0)).attempt("reading", &self.file)?;
        let rows = sqlx::query(
            "SELECT customers.tenant, plan FROM customers
             LEFT JOIN subscriptions s ON s.tenant = customers.tenant AND ended IS NULL ORDER BY customers.tenant",
        );
        let rows = rows.fetch_all(&mut *snapshot).await.attempt("reading", &self.file)?;
        let accounts = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let accounts = accounts.collect::<Result<_, sqlx::Error>>().attempt("reading", &self.file)?;
        snapshot.rollback().await.attempt("reading", &self.file)?;
        Ok((revision, accounts))
    }

    /// Makes a customer; one that is there stays as it is. Answers whether it was made, and the revision.
    pub(crate) async fn create(&self, tenant: &str, now: Timestamp) -> Result<(bool, i64), Error> {
        let mut change = self.change().await?;
        let made = sqlx::query("INSERT INTO customers (tenant, since) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(tenant)
            .bind(now.as_millisecond())
            .execute(&mut *change)
            .await
            .attempt("writing", &self.file)?;
        let made = made.rows_affected() > 0;
        Ok((made, self.commit(change, made).await?))
    }

    /// Makes `plan` the plan of a customer. Answers whether it was another before, and the revision.
    pub(crate) async fn subscribe(&self, tenant: &str, plan: &str, now: Timestamp) -> Result<(bool, i64), Error> {
        let mut change = self.change().await?;
        let current = self.current(&mut change, tenant).await?;
        let changed = current.as_deref() != Some(plan);
        if changed {
            self.end_current(&mut change, tenant, now).await?;
            sqlx::query("INSERT INTO subscriptions (tenant, plan, since) VALUES (?, ?, ?)")
                .bind(tenant)
                .bind(plan)
                .bind(now.as_millisecond())
                .execute(&mut *change)
                .await
                .attempt("writing", &self.file)?;
        }
        Ok((changed, self.commit(change, changed).await?))
    }

    /// Ends the subscription of a customer. Answers whether there was one, and the revision.
    pub(crate) async fn end(&self, tenant: &str, now: Timestamp) -> Result<(bool, i64), Error> {
        let mut change = self.change().await?;
        let ended = self.current(&mut change, tenant).await?.is_some();
        if ended {
            self.end_current(&mut change, tenant, now).await?;
        }
        Ok((ended, self.commit(change, ended).await?))
    }

    /// The plan of a customer.
    async fn current(&self, change: &mut Transaction<'_, Sqlite>, tenant: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query(
            "SELECT plan FROM customers LEFT JOIN subscriptions s ON s.tenant = customers.tenant AND ended IS NULL
             WHERE customers.tenant = ?",
        );
        let row = row.bind(tenant).fetch_optional(&mut **change).await.attempt("reading", &self.file)?;
        match row {
            Some(row) => row.try_get(0).attempt("reading", &self.file),
            None => Err(Error::new(
                ErrorKind::NoCustomer,
                format!("there is no customer \"{tenant}\" in {}; create it first", self.file),
            )),
        }
    }

    async fn end_current(
        &self,
        change: &mut Transaction<'_, Sqlite>,
        tenant: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        sqlx::query("UPDATE subscriptions SET ended = ? WHERE tenant = ? AND ended IS NULL")
            .bind(now.as_millisecond())
            .bind(tenant)
            .execute(&mut **change)
            .await
            .attempt("writing", &self.file)?;
        Ok(())
    }

    async fn commit(&self, mut change: Transaction<'_, Sqlite>, changed: bool) -> Result<i64, Error> {
        let row = sqlx::query("UPDATE revision SET number = number + ? RETURNING number")
            .bind(i64::from(changed))
            .fetch_one(&mut *change)
            .await;
        let revision = row.and_then(|row| row.try_get(0)).attempt("writing", &self.file)?;
        change.commit().await.attempt("writing", &self.file)?;
        Ok(revision)
    }
}
