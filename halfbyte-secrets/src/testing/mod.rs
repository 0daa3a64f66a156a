//! For tests of products and of providers, by the feature `testing`: does code that uses secrets leak one, and is a provider as
//! it should be? For the second see [`conformance`].
//!
//! ```
//! use halfbyte_secrets::testing::assert_no_leak;
//! use halfbyte_secrets::{Error, ExposeSecret, Secrets};
//!
//! async fn charge(secrets: Secrets) -> Result<(), Error> {
//!     let key = secrets.get::<String>("payment-key");
//!     key.ready().await?;
//!     tracing::debug!(?key, "charging");
//!     assert_eq!(key.load()?.expose_secret().len(), 40);
//!     Ok(())
//! }
//!
//! // In a `#[test]`, or a `#[tokio::test]`.
//! assert_no_leak!(charge);
//! ```
//!
//! [`assert_no_leak!`] runs the code with random canaries for secrets, and fails if one is found where none belongs. See
//! [`LeakTest`] for what it looks at.

mod canary;
mod checks;
pub mod conformance;
mod findings;
mod leak_test;
mod lending;
mod memory;
mod panics;
mod processes;
mod report;
mod spans;
mod trial;
mod watch;

pub use self::findings::{Leak, Leaks};
pub use self::leak_test::{LeakTest, Outcome};
#[doc(inline)]
pub use crate::assert_no_leak;
