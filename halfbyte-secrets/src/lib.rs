#![doc = include_str!("docs/crate.md")]
#![doc = ""]
// What a feature adds is a link where it is there, and leads to the list of features where it is not.
#![cfg_attr(feature = "aws", doc = "[aws]: Aws")]
#![cfg_attr(not(feature = "aws"), doc = "[aws]: #features")]
#![cfg_attr(feature = "key-pair", doc = "[key-pair]: KeyPair")]
#![cfg_attr(not(feature = "key-pair"), doc = "[key-pair]: #features")]
#![cfg_attr(feature = "local", doc = "[local]: Local")]
#![cfg_attr(not(feature = "local"), doc = "[local]: #features")]
#![cfg_attr(feature = "snapshot", doc = "[snapshot]: BootSnapshot")]
#![cfg_attr(not(feature = "snapshot"), doc = "[snapshot]: #features")]
#![cfg_attr(feature = "postgres", doc = "[database]: postgres::Database")]
#![cfg_attr(not(feature = "postgres"), doc = "[database]: #features")]
#![cfg_attr(feature = "testing", doc = "[leak]: testing::assert_no_leak")]
#![cfg_attr(not(feature = "testing"), doc = "[leak]: #features")]
#![cfg_attr(feature = "testing", doc = "[conformance]: testing::conformance")]
#![cfg_attr(not(feature = "testing"), doc = "[conformance]: #features")]
#![cfg_attr(feature = "testing", doc = "[leak-test]: testing::LeakTest")]
#![cfg_attr(not(feature = "testing"), doc = "[leak-test]: #features")]

#[cfg(feature = "aws")]
mod aws;
mod boot;
mod credential;
mod error;
pub mod firewall;
mod from_secret;
mod guarded;
mod handle;
pub mod inject;
mod journal;
#[cfg(any(feature = "local", feature = "snapshot"))]
mod key;
#[cfg(feature = "key-pair")]
mod key_pair;
mod lease;
#[cfg(feature = "local")]
mod local;
mod metrics;
mod name;
pub mod openbao;
mod parts;
mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
mod provider;
mod reader;
mod rotation;
mod secrets;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;

pub use halfbyte_core::live;
pub use secrecy::{ExposeSecret, SecretSlice, SecretString, zeroize};

#[cfg(feature = "aws")]
pub use self::aws::Aws;
pub use self::credential::Credential;
pub use self::error::{Error, ErrorKind};
pub use self::from_secret::{FromSecret, Json, ParseError, SecretUrl};
pub use self::handle::{PreviousValue, Secret, Snapshot};
pub use self::journal::{Event, Outcome};
#[cfg(feature = "key-pair")]
pub use self::key_pair::{KeyAlgorithm, KeyPair, Signing, SigningError};
#[cfg(feature = "local")]
pub use self::local::Local;
pub use self::name::Name;
pub use self::policy::Policy;
pub use self::provider::{Ask, Env, Files, Lease, Provider, Reading, Stage, Version};
pub use self::secrets::{Builder, Secrets};
#[cfg(feature = "snapshot")]
pub use self::snapshot::BootSnapshot;

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
