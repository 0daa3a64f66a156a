#![doc = include_str!("docs/crate.md")]
#![doc = include_str!("docs/presets.md")]

#[cfg(feature = "access")]
pub mod access;
pub mod api_keys;
mod authenticator;
mod binding;
mod cache;
mod claims;
mod credential;
mod dpop;
pub mod embedded;
mod error;
mod identity;
mod introspection;
mod issuer;
pub mod jose;
pub mod layers;
mod logout;
mod mtls;
pub mod outbound;
mod revocation;
mod settings;
mod state_file;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tie;

pub use self::api_keys::{ApiKey, ApiKeySpec, ApiKeys};
pub use self::authenticator::Authenticator;
pub use self::embedded::Embedded;
pub use self::error::{Error, ErrorKind};
pub use self::identity::Identity;
pub use self::outbound::{ClientAuthentication, OAuthClient, TokenLayer, TokenSource};
pub use self::revocation::Revocations;
pub use self::settings::Settings;
pub use self::tie::Tie;

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
