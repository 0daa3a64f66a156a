//! Connections of PostgreSQL for reading, kept between uses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::postgres::{CONNECT_TIMEOUT, connect};

const MOST: usize = 4;
/// How long a connection that was kept may take to say that it is still there.
const PING: Duration = Duration::from_secs(1);

/// At most four connections. Every wait has an end, also where the network has swallowed a connection without a word; the
/// pool of sqlx asks such a connection how it is when it comes back, and waits for that for ever.
pub(super) struct Readers {
    options: PgConnectOptions,
    kept: Mutex<Vec<PgConnection>>,
    free: Arc<Semaphore>,
}

/// One of the places for connections.
pub(super) struct Place {
    readers: Arc<Readers>,
    _taken: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, kept: Mutex::default(), free: Arc::new(Semaphore::new(MOST)) }
    }

    /// A connection, with the place that it goes back to. May be dropped at any moment.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<(PgConnection, Place), sqlx::Error> {
        let taken = timeout(CONNECT_TIMEOUT, self.free.clone().acquire_owned()).await;
        let taken = taken.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let place = Place { readers: self.clone(), _taken: taken };
        let kept = self.kept().pop();
        if let Some(mut connection) = kept {
            match timeout(PING, connection.ping()).await {
                Ok(Ok(())) => return Ok((connection, place)),
                // Those that have been there for longer are no better: the server was restarted, or moved.
                _ => self.kept().clear(),
            }
        }
        Ok((connect(&self.options).await?, place))
    }

    /// Closes what is kept, and whatever comes back.
    pub(super) async fn close(&self) {
        self.free.close();
        let kept = std::mem::take(&mut *self.kept());
        for connection in kept {
            // The server notices it all the same.
            _ = timeout(PING, connection.close()).await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Keeps a connection on which nothing is under way.
    pub(super) fn keep(self, connection: PgConnection) {
        let mut kept = self.readers.kept();
        if !self.readers.free.is_closed() {
            kept.push(connection);
        }
    }
}
