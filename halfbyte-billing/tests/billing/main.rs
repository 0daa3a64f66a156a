//! Billing as a product sees it: through its layers and its handle, against a real store, with real processes.

#![cfg(feature = "sqlite")]
#![allow(clippy::disallowed_methods, reason = "a child process learns from its environment what to do")]

mod catalogue;
mod children;
mod customers;
mod damage;
mod layers;
mod limits;
mod model;
mod processes;
mod support;
mod usage;
