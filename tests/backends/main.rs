//! Behaviour against the real servers that products use. `cargo xtask test` installs and starts them; for trying by hand,
//! `cargo xtask backends up` prints the variables to set.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment where the servers are")]
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there")]

mod api_keys;
mod aws;
mod billing;
mod database;
mod oidc;
mod openbao;
mod otlp_collector;
mod postgres_pool;
mod proxy;

/// Where a server is. A missing one is a failure, never a skip.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run `cargo xtask test`, or `cargo xtask backends up` and paste what it prints")
    })
}
