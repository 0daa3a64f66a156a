use halfbyte_core::TenantId;
use tokio::time::{Instant, timeout};

use crate::entitle::PATIENCE;
use crate::{Basis, Billing, Error, ErrorKind};

impl Billing {
    /// Whether the subscription of `tenant` is [paused](crate::Operation::Pause) now. A tenant without an account is not
    /// suspended, and neither is one that is past due.
    ///
    /// Answered from memory, with no I/O and no lock, as entitlements are: as the store says, or as it last said while it
    /// cannot be reached. A tenant that is suspended may just have been resumed by another process: the accounts are read
    /// again for it, by one read for all who ask, for at most two seconds. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`]: the store has not been reached for five minutes, or not yet.
    pub async fn is_suspended(&self, tenant: &TenantId) -> Result<bool, Error> {
        let now = self.clock().now();
        match self.accounts().basis_at(Instant::now()) {
            Basis::Fallback => {
                let message = "whether a tenant is suspended is not known: the store has not been reached for too long";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            Basis::Live if self.accounts().is_paused(tenant, now) => {
                // Should it not answer, what was last known is the answer.
                let _known_in_time = timeout(PATIENCE, self.look_again()).await;
                Ok(self.accounts().is_paused(tenant, now))
            }
            Basis::Live | Basis::Stale(_) => Ok(self.accounts().is_paused(tenant, now)),
        }
    }
}
