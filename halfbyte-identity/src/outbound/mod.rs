//! Calling others: tokens of the product's own, tokens on behalf of a caller, and what else an issuer answers a client.
//!
//! One [`OAuthClient`] is one client at one issuer. It finds the endpoints by discovery and calls them over core's HTTP
//! client, so that every answer is bounded and no redirect is followed.
//!
//! ```no_run
//! use halfbyte_identity::outbound::{ClientAuthentication, TokenLayer};
//! # use {halfbyte_core::{BoxError, Principal}, secrecy::SecretString};
//! # async fn example(identity: &halfbyte_identity::Identity, callers_token: SecretString, caller: Principal) -> Result<(), BoxError> {
//! let client = identity.client("parcel", ClientAuthentication::secret(|| Ok("from your secret store".into())));
//!
//! // As the product itself: fetched when first needed, renewed ahead of expiry.
//! let tokens = client.tokens("clinic", &["labels:read"]);
//! let layer: TokenLayer<String> = TokenLayer::new(tokens, ["clinic.example.com"])?.retrying();
//!
//! // On behalf of a caller (RFC 8693).
//! let token = client.exchange(&callers_token, Some(caller.expires_at()), "clinic", &["labels:read"]).await?;
//! # Ok(()) }
//! ```
//!
//! # What is sent more than once
//!
//! Client credentials, token exchange, introspection and revocation do nothing but ask, or do the same again, so they are
//! repeated after a failed connection or a 429, 502, 503 or 504. A refresh is sent once: an issuer that rotates refresh
//! tokens takes the second use of one for theft and ends the session. With `private_key_jwt` everything but userinfo is
//! sent once, as an assertion is good for one use.
//!
//! # What it does not do
//!
//! It signs nobody in: no authorization code, device or CIBA flow. It asks for bearer tokens only, and uses no other. In a
//! token exchange it sends no actor token: who acts is the client that authenticates itself. Signed introspection and
//! userinfo answers (RFC 9701; `application/jwt`) are refused as malformed.

mod access_token;
mod answers;
mod assertion;
mod authentication;
mod client;
mod error;
mod exchange;
mod flights;
mod grant;
mod hosts;
mod layer;
mod registration;
mod service;
mod source;

pub use self::access_token::{AccessToken, TokenSet};
pub use self::answers::{Introspected, Userinfo};
pub use self::assertion::PrivateKeyJwt;
pub use self::authentication::ClientAuthentication;
pub use self::client::{OAuthClient, TokenHint};
pub use self::error::{Error, ErrorKind};
pub(crate) use self::flights::Flights;
pub use self::layer::TokenLayer;
pub(crate) use self::registration::Registration;
pub use self::service::{CallError, TokenService};
pub use self::source::TokenSource;
