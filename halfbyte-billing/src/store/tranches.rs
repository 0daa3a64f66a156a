//! Units of a quota that a process has leased and not yet used.

use std::collections::BTreeSet;

use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::usage::used;
use crate::quota::{Quota, tranche};

/// Everything that the leases of one process go through, within the caller's transaction.
pub(crate) struct Lease<'a> {
    pub(crate) owner: Uuid,
    pub(crate) quota: &'a Quota,
}

impl Lease<'_> {
    /// How many units there are to lease; `held` is what this process has of the quota, whatever the store says.
    ///
    /// Used and leased are read in the transaction that then writes the lease: no other process can come between.
    pub(crate) async fn grant(
        &self,
        connection: &mut SqliteConnection,
        held: u64,
        waiting: u64,
    ) -> Result<u64, sqlx::Error> {
        let names = &self.quota.metered;
        let (tenant, product) = (self.quota.tenant.as_str(), names.feature.product.as_str());
        let period = self.quota.period;
        let used = used(connection, tenant, product, &names.meter, period).await?;
        // Every lease of the meter that can still count in this period, whatever feature or limit it is for.
        let row = sqlx::query(
            "SELECT coalesce(sum(units), 0) FROM tranches
             WHERE tenant = ?1 AND product = ?2 AND meter = ?3 AND first_day < ?5 AND end_day > ?4
             AND NOT (owner = ?6 AND feature = ?7 AND first_day = ?4 AND end_day = ?5 AND quota = ?8)",
        )
        .bind(tenant)
        .bind(product)
        .bind(&*names.meter)
        .bind(period.first_day())
        .bind(period.end_day())
        .bind(self.owner.to_string())
        .bind(&*names.feature.name)
        .bind(signed(self.quota.limit))
        .fetch_one(connection)
        .await?;
        let others = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        Ok(tranche(self.quota.limit, used, others.saturating_add(held), waiting))
    }

    /// Writes what this process holds of the quota: the whole of it and not a difference, so that writing it again after
    /// a commit whose outcome is not known is right either way.
    pub(crate) async fn hold(&self, connection: &mut SqliteConnection, units: u64) -> Result<(), sqlx::Error> {
        let names = &self.quota.metered;
        let query = if units == 0 {
            sqlx::query(
                "DELETE FROM tranches WHERE tenant = ? AND product = ? AND meter = ? AND owner = ? AND feature = ?
                 AND first_day = ? AND end_day = ? AND quota = ?",
            )
        } else {
            sqlx::query(
                "INSERT INTO tranches (tenant, product, meter, owner, feature, first_day, end_day, quota, units)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET units = excluded.units",
            )
        };
        let query = query
            .bind(self.quota.tenant.as_str())
            .bind(names.feature.product.as_str())
            .bind(&*names.meter)
            .bind(self.owner.to_string())
            .bind(&*names.feature.name)
            .bind(self.quota.period.first_day())
            .bind(self.quota.period.end_day())
            .bind(signed(self.quota.limit));
        let query = if units == 0 { query } else { query.bind(signed(units)) };
        query.execute(connection).await?;
        Ok(())
    }
}

/// Everybody who holds something.
pub(crate) async fn tranche_owners(connection: &mut SqliteConnection) -> Result<BTreeSet<Uuid>, sqlx::Error> {
    let rows = sqlx::query("SELECT DISTINCT owner FROM tranches").fetch_all(connection).await?;
    let mut owners = BTreeSet::new();
    for row in rows {
        owners.extend(row.try_get::<&str, _>(0)?.parse::<Uuid>().ok());
    }
    Ok(owners)
}

/// Gives back all that `owner` holds; answers how many units that was.
pub(crate) async fn release_of(connection: &mut SqliteConnection, owner: Uuid) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query("DELETE FROM tranches WHERE owner = ? RETURNING units")
        .bind(owner.to_string())
        .fetch_all(connection)
        .await?;
    let mut released = 0;
    for row in rows {
        released += u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
    }
    Ok(released)
}

/// What the catalogue and the store count with fits both.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
