//! What a product's own tests need of identity: an [`Issuer`] that misbehaves on demand, tokens for a [`Persona`] in one
//! line, and every attack on tokens that we know of as one assertion, [`attack::assert_all_refused`].
//!
//! ```
//! use halfbyte_core::client::Client;
//! use halfbyte_core::config::IdentityBackend;
//! use halfbyte_core::home::Home;
//! use halfbyte_core::{Clock, Lifecycle};
//! use halfbyte_identity::testing::{Issuer, Persona, attack};
//! use halfbyte_identity::{Identity, Settings};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = Issuer::start().await?;
//! let ann = Persona::user("ann").tenant("acme").scopes(["labels:read"]);
//! # let folder = tempfile::tempdir()?;
//! # let home = Home::open(folder.path().join("home"))?;
//! // The product, assembled as it is in its `main`, with the test's issuer.
//! let backends = vec![IdentityBackend::issuer(issuer.id())];
//! let settings = Settings::new(backends, "parcel", "http://127.0.0.1:8080".parse()?, home);
//! let identity = Identity::open(settings, Client::new()?, &Lifecycle::new(Clock::system())).await?;
//! let product = ServiceBuilder::new()
//!     .layer(identity.authenticate())
//!     .layer(identity.require(&["labels:read"]))
//!     .service(service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(String::new()))));
//!
//! let request = || Request::get("/labels").body(String::new()).expect("a request");
//! attack::assert_all_refused(product.clone(), request, &issuer, "parcel", &ann).await;
//!
//! let mut of_ann = request();
//! let token = issuer.token(&ann, "parcel");
//! of_ann.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
//! assert_eq!(product.oneshot(of_ann).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # For tests only
//!
//! Never enable the feature `testing` in what is shipped: put it under `[dev-dependencies]`. It only adds this module and
//! changes nothing of how the crate behaves, but what it adds signs tokens for anybody.
//!
//! # What it does not do
//!
//! - The issuer has no users, no sign-in and no grants but client credentials, which give what is asked for. Clients
//!   authenticate by a secret.
//! - The corpus holds what can be told from one request: not replayed DPoP proofs, not proofs that differ from a good one in
//!   one detail, not floods.

pub mod attack;
mod bad_claims;
mod bad_credentials;
mod bad_encodings;
mod bad_headers;
mod bad_signatures;
mod certificate;
mod forgery;
mod holder;
mod issuer;
mod persona;
mod report;
mod server;
mod signer;
mod verdict;

pub use self::holder::Holder;
pub use self::issuer::{Issuer, Outage};
pub use self::persona::Persona;
