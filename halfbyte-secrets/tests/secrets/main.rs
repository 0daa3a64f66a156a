//! What a product sees of `halfbyte-secrets`, over its public API and real files.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there")]

mod audit;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod aws_keys;
mod backend;
#[cfg(feature = "testing")]
mod conformance;
mod declared;
mod env;
mod env_taken;
#[cfg(feature = "aws")]
mod fake_aws;
mod files;
mod firewall;
mod handles;
mod inject;
#[cfg(feature = "key-pair")]
mod key_pair;
mod kubelet;
mod leaks;
mod leaks_opentelemetry;
mod leases;
mod lent;
mod lent_twice;
mod local;
mod mask_layer;
mod mask_writer;
#[cfg(feature = "testing")]
mod memory;
mod mounts;
mod openbao;
mod orphans;
mod pawnbroker;
mod redaction;
mod rejection;
mod rotation;
mod scripted;
mod snapshot;
mod unserved;
mod writers;

use halfbyte_core::{Clock, Lifecycle};

fn lifecycle() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    halfbyte_core::error_chain(error)
}
