//! Behaviour of the assembled platform, with its embedded systems: no server is needed.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there")]

mod access;
mod admin;
mod credentials;
mod layers;
mod load;
mod product;
mod products;
mod start;
mod usage;
