//! Node `oidc-provider` as the issuer: real discovery, real keys, real tokens, real outages.

mod dpop;
mod instance;
mod keys;
mod logout;
mod opaque;
mod outages;
mod outbound;
mod product;
mod provider;
mod served;
mod tokens;

use self::instance::Instance;
pub use self::instance::free_port;
use self::product::{Product, settings};
use self::provider::{Provider, json};
use self::served::{Served, refusal};

/// What the products of these tests are called in `aud`.
const AUDIENCE: &str = "urn:halfbyte:parcel";
/// The same for products that take opaque tokens: the provider makes them for names that begin so.
const OPAQUE: &str = "urn:opaque:parcel";
