//! What the other crates and the products rely on in `halfbyte-core`, over its public API.

mod client;
mod config;
mod live;
mod problem;
