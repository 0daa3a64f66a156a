//! Behaviour of the assembled platform, with its embedded systems: no server is needed.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there")]

mod access;
mod admin;
mod contract;
mod credentials;
#[cfg(feature = "deploy")]
mod deploy;
mod fleet;
mod layers;
mod product;
mod products;
mod routes;
mod start;
mod usage;
