//! The lease of this process: what it holds is its own as long as it says so.

use std::time::Duration;

use tokio::time::Instant;

use super::Committer;
use crate::Error;
use crate::store::owners::{self, Beat};
use crate::store::{Session, SqlError};

/// Renewed this many times in its time.
const BEATS: u32 = 6;

/// When the lease was last renewed, and when next.
pub(super) struct Heartbeat {
    lease: Duration,
    next: Option<Instant>,
    /// Since when it has been renewed without a gap. Whoever has just come back must give others the time to do so too.
    unbroken_since: Option<Instant>,
}

impl Heartbeat {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, next: None, unbroken_since: None }
    }
}

impl Committer {
    /// Lets the lease be renewed with the next look.
    pub(super) fn beat_soon(&mut self) {
        self.heartbeat.next = self.heartbeat.next.map(|_| Instant::now());
    }

    /// Renews the lease when it is time, and takes back what others left whose lease has expired.
    pub(super) async fn beat(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        if self.heartbeat.next.is_some_and(|next| began < next) {
            return self.expire().await;
        }
        let (owner, lease) = (self.shared.journal.owner(), self.heartbeat.lease);
        let mut session = self.connected().await?;
        let beat = match owners::heartbeat(session.as_mut(), owner, lease).await {
            Ok(beat) => beat,
            Err(error) => {
                self.heartbeat.unbroken_since = None;
                return Err(self.store.explain("renewing the lease in", error));
            }
        };
        if beat == Beat::Anew && self.heartbeat.next.is_some() {
            tracing::warn!("the lease of this process had expired; what it held was taken back and is leased anew");
            self.lose();
        }
        // Two thirds: what was reserved until then has the last third to be counted in.
        self.shared.cells.moments.fence(began, lease * 2 / 3);
        self.heartbeat.next = Some(began + lease / BEATS);
        let since = *self.heartbeat.unbroken_since.get_or_insert(began);
        // Who has just come back gives the others the time to do so too.
        let processes = since.elapsed() >= lease;
        self.reclaim(session, processes).await
    }

    /// Takes back what reservations hold past their time. Others wait for that, so it is looked for more often than leases.
    async fn expire(&mut self) -> Result<(), Error> {
        let mut session = self.connected().await?;
        let overdue = owners::is_overdue(session.as_mut()).await;
        if overdue.map_err(|error| self.store.explain("looking for reservations in", error))? {
            return self.reclaim(session, false).await;
        }
        self.session = Some(session);
        Ok(())
    }

    async fn reclaim(&mut self, mut session: Box<dyn Session>, processes: bool) -> Result<(), Error> {
        let reclaimed = reclaim(session.as_mut(), processes).await;
        let (units, stranded) = reclaimed.map_err(|error| self.store.explain("taking back from", error))?;
        self.session = Some(session);
        self.shared.note_stranded(stranded);
        if units > 0 {
            tracing::warn!(units, "what was held by owners whose time has passed was given back");
            self.shared.note_reclaimed(units);
        }
        Ok(())
    }

    /// What this process held is not its own any more.
    pub(super) fn lose(&mut self) {
        self.shared.cells.lose();
        self.given_up.clear();
        self.accounts.renew();
    }
}

/// Takes back what is held past its time; answers how much that was, and how much is left to be taken back later.
async fn reclaim(session: &mut dyn Session, processes: bool) -> Result<(u64, u64), SqlError> {
    let mut units = 0;
    loop {
        session.begin().await?;
        let reclaimed = owners::reclaim(session, processes).await?;
        session.commit().await?;
        units += reclaimed.units;
        if !reclaimed.more {
            break;
        }
    }
    let stranded = owners::stranded(session).await?;
    Ok((units, stranded.iter().map(|(_, _, units)| units).sum()))
}
