//! What tenants may use, and what they used: plans from a TOML file, entitlements that cost no I/O to check, hard limits
//! that hold across processes, and usage that is counted exactly once and survives the death of the process.
#![cfg_attr(feature = "sqlite", doc = include_str!("docs/guide.md"))]

#[cfg(feature = "sqlite")]
mod accounts;
#[cfg(feature = "sqlite")]
mod billing;
mod catalog;
#[cfg(feature = "sqlite")]
mod committer;
#[cfg(feature = "sqlite")]
mod customers;
mod decision;
#[cfg(feature = "sqlite")]
pub mod entitle;
mod error;
#[cfg(feature = "sqlite")]
mod journal;
mod key;
#[cfg(feature = "sqlite")]
pub mod meter;
mod period;
#[cfg(feature = "sqlite")]
mod quota;
#[cfg(feature = "sqlite")]
mod store;
mod usage;

#[cfg(feature = "sqlite")]
pub use self::billing::Billing;
pub use self::catalog::{Catalog, CatalogError, Fault, Feature, Grant, Meter, Plan, Product};
#[cfg(feature = "sqlite")]
pub use self::customers::Customers;
pub use self::decision::Decision;
#[cfg(feature = "sqlite")]
pub use self::entitle::EntitleLayer;
pub use self::error::{Error, ErrorKind};
pub use self::key::IdempotencyKey;
#[cfg(feature = "sqlite")]
pub use self::meter::MeterLayer;
pub use self::period::{Per, Period};
pub use self::usage::Usage;
