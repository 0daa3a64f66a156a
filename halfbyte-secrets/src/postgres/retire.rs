//! Ends the connections of a credential that is not used any more.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{Instant, sleep_until, timeout};

use super::cutoff::Cutoff;

/// How long before the end of a lease its last connections are ended by force; less where less than four times that is left.
const MARGIN: Duration = Duration::from_secs(1);

/// Ends the other sessions that this program has as this user: of this address and with this name, so that it does not end those
/// of another program which was lent the same. A user may end sessions of its own.
const END_OWN_SESSIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity where usename = session_user \
    and pid <> pg_backend_pid() and application_name = current_setting('application_name') \
    and client_addr is not distinct from inet_client_addr()";

/// What a credential leaves behind when another one takes its place.
pub(super) struct Retired {
    pub(super) pool: PgPool,
    pub(super) cutoff: Arc<Cutoff>,
    /// The options with the old credential, if its sessions must end before the lease does.
    pub(super) lent: Option<(Box<PgConnectOptions>, Instant)>,
}

impl Retired {
    /// Closes what is idle, and lets what is out be closed when it is given back.
    pub(super) fn now(&self) {
        self.cutoff.cut();
        close_idle(&self.pool);
    }

    /// The rest, after [`now`](Self::now). A login that had begun before the change may come through after it, so what was made
    /// until none can be left is closed as well; and what is out when the lease ends is ended by force.
    pub(super) async fn run(self) {
        let Self { pool, cutoff, lent } = self;
        let changed = Instant::now();
        let slowest_login = pool.options().get_acquire_timeout();
        let left = lent.as_ref().map(|(_, ends)| ends.saturating_duration_since(changed));
        let again = left.map_or(slowest_login, |left| slowest_login.min(left / 2));
        sleep_until(changed + again).await;
        cutoff.cut();
        close_idle(&pool);
        let (Some((options, ends)), Some(left)) = (lent, left) else { return };
        sleep_until(ends.checked_sub(MARGIN.min(left / 4)).unwrap_or(changed)).await;
        match timeout(MARGIN, end_sessions(&options)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(ended)) => tracing::warn!(ended, "sessions were ended by force: their credential is about to end"),
            // The login has ended, and with it what could be done.
            Ok(Err(error)) => tracing::debug!(%error, "the sessions of a credential that ends could not be looked at"),
            Err(_elapsed) => tracing::debug!("the sessions of a credential that ends could not be looked at in time"),
        }
    }
}

/// Giving a connection back is where an old one is closed.
fn close_idle(pool: &PgPool) {
    for _ in 0..pool.num_idle() {
        let Some(connection) = pool.try_acquire() else { return };
        drop(connection);
    }
}

async fn end_sessions(options: &PgConnectOptions) -> Result<usize, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let ended = sqlx::query(END_OWN_SESSIONS).fetch_all(&mut connection).await?.len();
    connection.close().await?;
    Ok(ended)
}
