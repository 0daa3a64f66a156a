//! The words that every HalfByte crate shares: live values, principals, refusals, configuration, the outbound HTTP
//! client, the life cycle and the clock. No system and no server lives here.
//!
//! ```
//! use halfbyte_core::problem::{Kind, Problem};
//!
//! let refusal = Problem::insufficient_scope(&["labels:write"]);
//! assert_eq!(refusal.kind(), Kind::InsufficientScope);
//! assert_eq!(refusal.kind().status(), http::StatusCode::FORBIDDEN);
//! assert_eq!(refusal.kind().urn(), "urn:halfbyte:problem:insufficient-scope");
//! ```
//!
//! # What it guarantees
//!
//! - Every refusal that a client can see comes from [`problem`]'s one table.
//! - Everything that is fetched and changes goes through [`live`]: one mechanism for freshness, back-off and staleness.
//! - [`config`] reads the environment once, refuses unknown keys, and reports all errors together.
//! - A secret that [`fingerprint`] knows is masked wherever the family logs, exports or prints a panic.
//! - Wall-clock time comes from [`Clock`] and tasks from [`Lifecycle`], so that tests pause the one and drain waits for
//!   the other.
//!
//! # What it does not do
//!
//! It authenticates nobody, bills nothing, exports no telemetry and listens on no port: that is what
//! `halfbyte-identity`, `-billing`, `-observe` and `halfbyte` are for.

pub mod body;
mod caller;
pub mod client;
mod clock;
pub mod config;
mod error;
#[cfg(feature = "axum")]
mod extract;
pub mod fingerprint;
pub mod home;
mod ids;
pub mod lifecycle;
pub mod live;
pub mod panic_hook;
mod principal;
pub mod problem;

pub use self::caller::{Caller, Carried, PeerAddress};
pub use self::clock::Clock;
pub use self::error::{BoxError, error_chain};
pub use self::ids::{InvalidId, ProductId, RequestId, TenantId, TraceId};
pub use self::lifecycle::Lifecycle;
pub use self::live::Live;
pub use self::principal::{Actor, ClaimsError, Principal, PrincipalBuilder, PrincipalKind};
pub use self::problem::Problem;

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
