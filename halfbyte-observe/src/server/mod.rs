//! The server layer: one span and one duration per request, by the OpenTelemetry semantic conventions for HTTP.

mod attributes;
mod body;
mod exchange;
mod future;
mod layer;
mod service;
mod traceparent;

pub use self::body::ServerBody;
pub use self::future::ServerFuture;
pub use self::layer::ServerLayer;
pub use self::service::Server;
