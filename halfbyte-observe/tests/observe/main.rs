//! The crate as a product uses it: layers around services, and whole processes that send their telemetry to a receiver.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test, helpers included")]

mod allocations;
mod audit;
mod audit_process;
mod authorities;
mod axum_route;
mod capture;
mod child;
mod client;
mod collection;
mod endings;
mod init;
mod kit;
mod outage;
mod outbound;
mod panics;
mod propagation;
mod proxies;
mod receiver;
mod request_id;
mod rpc;
mod secrecy;
mod semantics;
mod series;
mod shutdown;
