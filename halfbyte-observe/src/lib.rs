#![doc = include_str!("docs/crate.md")]

pub mod audit;
mod chain;
pub mod client;
mod console;
mod conventions;
mod error;
mod export;
mod grpc;
mod init;
mod instrumentation;
mod keep;
mod metrics;
pub mod panics;
pub mod prometheus;
mod propagation;
mod redact;
mod repeats;
pub mod request_id;
mod resource;
pub mod server;
mod settings;
mod signal;
mod spool;
mod stamp;
mod subscriber;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod wall;

#[doc(no_inline)]
pub use opentelemetry;

pub use self::client::{ClientLayer, ResendCount, UrlTemplate};
pub use self::error::{Error, ErrorKind};
pub use self::export::{Dropped, SignalStats, Stats};
pub use self::init::init;
pub use self::instrumentation::Instrumentation;
pub use self::keep::{Keep, Kept};
pub use self::propagation::{BaggageKeys, Propagators, TraceTrust};
pub use self::redact::{Redaction, RedactionBuilder, Sensitive};
pub use self::request_id::RequestIdLayer;
pub use self::server::{Route, ServerLayer};
pub use self::settings::Settings;
pub use self::signal::Signal;
pub use self::stamp::UserHasher;
pub use self::telemetry::{Failure, Flushed, Telemetry};

/// The instrumentation scope of what this crate itself records.
pub(crate) const SCOPE: &str = env!("CARGO_PKG_NAME");

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
