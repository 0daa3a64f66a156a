//! Behaviour of the assembled platform, with its embedded systems: no server is needed.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there")]

mod access;
mod admin;
mod child;
mod contract;
mod credentials;
#[cfg(feature = "deploy")]
mod deploy;
mod fleet;
mod hand_over;
mod layers;
mod life;
mod load;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod product;
mod products;
mod routes;
mod start;
#[cfg(feature = "tls")]
mod tls;
mod usage;
mod web_sockets;
