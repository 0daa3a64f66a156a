//! What a product sees of `halfbyte-secrets`, over its public API and real files.

mod backend;
mod env;
mod env_taken;
mod files;
mod handles;
mod kubelet;
mod local;
mod mounts;
mod redaction;
mod rotation;
mod snapshot;
mod writers;

use halfbyte_core::{Clock, Lifecycle};

fn lifecycle() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    halfbyte_core::error_chain(error)
}
