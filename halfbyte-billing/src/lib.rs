//! What tenants may use, and what they used: plans, entitlements that cost no I/O to check, limits that hold across processes
//! and machines, and usage that is counted exactly once and survives the death of the process.
#![doc = include_str!("docs/guide.md")]
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "what one database alone needs; a build with both shows the rest")
)]

mod account;
mod accounts;
mod assemble;
mod balance;
mod billing;
mod catalog;
mod committer;
mod customers;
mod decision;
pub mod entitle;
mod error;
mod event;
pub mod export;
mod ingest;
mod journal;
mod key;
mod ledger;
pub mod meter;
mod metering;
mod period;
mod query;
mod quota;
mod reserve;
mod settings;
mod store;
mod suspended;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod usage;

pub use self::account::{
    Account, Answer, Grant, GrantSpec, Operation, OwnedAddOn, PlanRef, Standing, Subscription, Then, Trial, When,
};
pub use self::balance::{Balance, LotBalance};
pub use self::billing::Billing;
pub use self::catalog::{
    AddOn, Aggregation, Allowance, Catalog, CatalogError, CatalogSource, Entitlement, Fallback, Fault, Feature,
    FeatureKind, Filter, Limit, Meter, Plan, PlanVersion, Product, Reset,
};
pub use self::committer::Stats;
pub use self::customers::Customers;
pub use self::decision::{Basis, Decision};
pub use self::entitle::{Asked, EntitleLayer, Entitled, FeatureName, Gate};
pub use self::error::{Error, ErrorKind};
pub use self::event::{Event, EventError, EventRef};
pub use self::ingest::{MAX_BATCH, Receipt};
pub use self::key::IdempotencyKey;
pub use self::meter::{Answered, MeterLayer, Metered};
pub use self::period::{Anchor, Per, Period};
pub use self::query::{Bucket, UsageQuery, UsageRow, UsageTable};
pub use self::reserve::{Reservation, Reserved};
pub use self::settings::Settings;
pub use self::store::{OperationRecord, Published};
pub use self::usage::Usage;

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
