//! Adds a secret to outbound calls: to those for the hosts that you name, and to no others.
//!
//! ```
//! use halfbyte_secrets::Secret;
//! use halfbyte_secrets::inject::{Format, Hosts, Inject, InjectLayer};
//! use http::HeaderName;
//! use tower::Layer as _;
//!
//! # fn client<S>(client: S, token: Secret<String>) -> Result<Inject<S>, Box<dyn std::error::Error>> {
//! let hosts = Hosts::new(["api.example.com", "uploads.example.com:8443"])?;
//! let layer = InjectLayer::new(token, hosts).format(Format::header(HeaderName::from_static("x-api-key")));
//! Ok(layer.layer(client))
//! # }
//! ```
//!
//! # What it guarantees
//!
//! - The secret goes to the listed [`Hosts`] only, and by `https` only, unless
//!   [`danger_allow_plaintext`](InjectLayer::danger_allow_plaintext) says otherwise. A list without a host cannot be made.
//! - A request to another host is sent without it: nothing is added, and a header of that name which has the current value
//!   in it, or the [one before](crate::Secret::previous), is taken off. A header of yours that has something else in it stays there. For a listed host a
//!   header of that name is replaced.
//! - A request is not sent without its secret: while that is not loaded, or is not what a header can hold, the error is a
//!   [`crate::Error`] in the [`BoxError`](halfbyte_core::BoxError); [`is_temporary`](crate::Error::is_temporary) says whether
//!   to try later. Errors of the service inside come through as they are, in the same box.
//! - On 401 that value is [rejected](crate::Secret::reject), and the request is sent once more with the next one. With no next
//!   one within two seconds, or with a body that cannot be sent twice, the 401 is the answer; the rejection goes on, and later
//!   requests have what comes of it. On a second 401 the next one is rejected too, and the 401 is the answer. 403 means that who calls is known and may not: nothing is done about it.
//! - The value is marked [sensitive](http::HeaderValue::set_sensitive): `Debug` does not print it, and HTTP/2 does not keep it in
//!   its tables. It is made once for each generation, and its memory is overwritten when the last copy of the handle to it
//!   is dropped.
//!
//! # Redirects
//!
//! What follows redirects belongs outside of this layer, where each hop is a request that passes it: tower-http's
//! `FollowRedirect` around [`Inject`]. Inside of it, whoever follows would carry the header along. `reqwest::Client` follows by
//! itself, inside; with the feature `reqwest`, `InjectLayer::client` makes one that does not.
//!
//! # What it does not do
//!
//! - It cannot tell why a server answers 401. Who can make a listed host do so makes all readers of the secret switch to its
//!   pending value for up to a minute: see [`Secret::reject`](crate::Secret::reject). List the hosts that the secret is for.
//! - It cannot wipe what the HTTP client writes: a connection's buffers hold the header until they are used again.
//! - It has no wildcards: a host is listed, or it is not.

mod format;
mod future;
mod hosts;
mod injector;
mod layer;
mod message;
#[cfg(feature = "reqwest")]
mod reqwest;
mod service;

pub use self::format::{Format, InvalidUsername};
pub use self::future::InjectFuture;
pub use self::hosts::{Hosts, InvalidHosts};
pub use self::layer::InjectLayer;
pub use self::message::{Inbound, Mode, Once, Outbound, Repeat};
pub use self::service::Inject;
