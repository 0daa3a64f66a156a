//! Issuers elsewhere, over real HTTP: discovery, keys that change, and issuers that are gone.

mod discovery;
mod issuer;
mod outages;
mod rotation;
mod several;

pub use self::issuer::Issuer;
