//! The outbox of the store.

use std::time::Duration;

use halfbyte_core::TenantId;
use uuid::Uuid;

use super::outbox::{Outbox, Position};
use super::{BoxFuture, Exported};
use crate::store::{self, Store};
use crate::{Error, ErrorKind};

impl Outbox for Store {
    fn claim<'a>(
        &'a self,
        name: &'a str,
        holder: Uuid,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Option<Position>, Error>> {
        Box::pin(async move {
            let holder = holder.to_string();
            if ttl.is_zero() {
                self.release_export(name, &holder).await?;
                return Ok(None);
            }
            let claimed = self.claim_export(name, &holder, ttl).await?;
            Ok(claimed.map(|position| Position::new(&position.to_string())))
        })
    }

    fn read<'a>(&'a self, after: &'a Position, limit: usize) -> BoxFuture<'a, Result<Vec<Exported>, Error>> {
        Box::pin(async move {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = self.outbox(place(self, after)?, limit).await?;
            let exported = found.into_iter().map(|(position, received)| {
                let unreadable = |error| Error::because(ErrorKind::Corrupt, "the tenant of an event", error);
                let tenant = TenantId::new(&*received.tenant).map_err(unreadable)?;
                Ok(Exported::at(Position::new(&position.to_string()), tenant, received.event))
            });
            exported.collect()
        })
    }

    fn advance<'a>(&'a self, name: &'a str, holder: Uuid, to: &'a Position) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { self.advance_export(name, &holder.to_string(), place(self, to)?).await })
    }
}

fn place(store: &Store, position: &Position) -> Result<store::Position, Error> {
    match position.as_str() {
        "" => Ok(store::Position::default()),
        text => text.parse().map_err(|error| store.explain("reading a position of", error)),
    }
}
