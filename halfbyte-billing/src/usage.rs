use std::sync::Arc;

use halfbyte_core::ProductId;

use crate::Period;

/// What a tenant used of one meter in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The product whose use the meter counts.
    pub product: ProductId,
    /// The meter.
    pub meter: Arc<str>,
    /// What one of it is called.
    pub unit: Box<str>,
    /// The period.
    pub period: Period,
    /// The units used.
    pub used: u64,
    /// The feature of the tenant's plan that limits the use; `None` if there is none.
    pub feature: Option<Arc<str>>,
    /// The units that the plan allows in the period.
    pub limit: Option<u64>,
}
