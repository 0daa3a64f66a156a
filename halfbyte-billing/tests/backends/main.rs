//! Billing on the real servers that products use. `cargo xtask test` installs and starts them; for trying by hand,
//! `cargo xtask backends up` prints the variables to set.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment where the servers are")]

mod away;
mod children;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod kills;
mod nats;
mod nats_server;
mod payloads;
mod processes;
mod proxy;
mod readers;
mod retries;
mod server;
mod support;

use halfbyte_billing::testing::{Backend, store_suite};

/// What a test is told of a server. A missing one is a failure, never a skip.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run `cargo xtask test`, or `cargo xtask backends up` and paste what it prints")
    })
}

#[tokio::test]
async fn a_postgresql_database_does_as_the_suite_says() {
    store_suite(&Backend::Postgres(server("HB_TEST_POSTGRES_URL").into())).await;
}
