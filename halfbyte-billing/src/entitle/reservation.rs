use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::quota::Hold;
use crate::{Billing, Error, IdempotencyKey};

/// What [`EntitleLayer`](crate::EntitleLayer) reserved for a request, on its way to [`MeterLayer`](crate::MeterLayer) in
/// the request's extensions. Settled once, or given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Reservation(Arc<Mutex<Option<Reserved>>>);

#[derive(Debug)]
struct Reserved {
    billing: Billing,
    hold: Hold,
    key: IdempotencyKey,
    at: Timestamp,
}

impl Reservation {
    pub(crate) fn new(billing: Billing, hold: Hold, key: IdempotencyKey, at: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Some(Reserved { billing, hold, key, at }))))
    }

    /// What was reserved is used. A reservation that was settled or given back before stays so.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.take().map_or(Ok(()), |reserved| reserved.billing.settle(reserved.hold, reserved.key, reserved.at))
    }

    /// What was reserved is not used.
    pub(crate) fn release(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Reserved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
