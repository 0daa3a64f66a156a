//! Keeps live secrets out of what the process says: logs, spans, panics.
//!
//! Each secret is known while its value, or the one before it, is served, and for a while after that; see
//! [`fingerprint`] for how, in which encodings, and what cannot be known: what is shorter than 8 bytes, a part of a secret,
//! one that is split over two fields, other encodings. What is found becomes `[REDACTED]`.
//!
//! ```
//! use halfbyte_secrets::firewall::{self, MaskLayer};
//! use tracing_subscriber::layer::SubscriberExt as _;
//! use tracing_subscriber::{Layer as _, fmt};
//!
//! firewall::install_panic_hook();
//! let filter = tracing_subscriber::filter::LevelFilter::INFO;
//! let subscriber = tracing_subscriber::registry().with(MaskLayer::new(fmt::layer()).with_filter(filter));
//! # let _default = tracing::subscriber::set_default(subscriber);
//! // tracing::subscriber::set_global_default(subscriber)?;
//! tracing::info!("no secret of this process is in any line");
//! ```
//!
//! A process with `halfbyte-observe` needs none of this: its console, its exporters and its panic hook mask live secrets by
//! themselves.
//!
//! What writes elsewhere is left alone: `println!`, files of the product's own, bodies of requests. [`mask`] is for those.

#[cfg(feature = "layer")]
mod layer;
#[cfg(feature = "layer")]
mod values;
#[cfg(feature = "layer")]
mod writer;

pub use halfbyte_core::fingerprint::{self, is_there, mask, mask_bytes};
#[doc(inline)]
pub use halfbyte_core::panic_hook::install as install_panic_hook;

#[cfg(feature = "layer")]
pub use self::layer::MaskLayer;
#[cfg(feature = "layer")]
pub use self::writer::{MaskWriter, Masked};
