//! Node `oidc-provider` as the issuer: real discovery, real keys, real tokens, real outages.

mod instance;
mod keys;
mod outages;
mod provider;
mod tokens;

use self::instance::Instance;
use self::provider::{Product, Provider};

/// What the products of these tests are called in `aud`.
const AUDIENCE: &str = "urn:halfbyte:parcel";
