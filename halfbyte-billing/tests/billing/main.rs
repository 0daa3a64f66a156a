//! Billing as a product sees it: through its layers and its handle, against a real store, with real processes.

#![cfg(feature = "sqlite")]
#![allow(clippy::disallowed_methods, reason = "a child process learns from its environment what to do")]

mod adoption;
mod allocations;
mod bodies;
mod catalogue;
mod children;
#[path = "../common/mod.rs"]
mod common;
mod corrections;
mod customers;
mod damage;
mod entitled;
mod export;
mod fallback;
mod grants;
mod ingest;
mod kills;
mod layers;
mod limits;
mod meters;
mod model;
mod plans;
mod processes;
mod reference;
mod refused;
mod reservations;
mod scripted;
mod spool;
mod support;
mod suspended;
mod units;
mod usage;
