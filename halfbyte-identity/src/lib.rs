#![doc = include_str!("docs/crate.md")]

mod authenticator;
mod binding;
mod cache;
mod claims;
pub mod embedded;
mod error;
mod identity;
mod issuer;
pub mod jose;
pub mod layers;
mod tokens;

pub use self::authenticator::Authenticator;
pub use self::embedded::Embedded;
pub use self::error::{Error, ErrorKind};
pub use self::identity::{Identity, Settings};
pub use self::tokens::TokenSource;
