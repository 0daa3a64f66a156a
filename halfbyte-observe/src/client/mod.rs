//! The client layer: one span and one duration per call, by the OpenTelemetry semantic conventions for HTTP and for RPC.

mod body;
mod call;
mod exchange;
mod failure;
mod future;
mod layer;
mod message;
mod reqwest;
mod service;
mod target;

pub use self::body::ClientBody;
pub use self::call::{ResendCount, UrlTemplate};
pub use self::future::ClientFuture;
pub use self::layer::ClientLayer;
pub use self::message::{Inbound, Outbound};
pub use self::service::Client;
