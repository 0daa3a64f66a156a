//! The server layer: one span and one duration per request, by the OpenTelemetry semantic conventions for HTTP and gRPC.

mod attributes;
mod body;
mod exchange;
mod facts;
mod forwarded;
mod future;
mod headers;
mod inbound;
mod instruments;
mod layer;
mod noted;
mod recent;
mod route;
mod service;
mod span;

pub use self::body::ServerBody;
pub use self::future::ServerFuture;
pub use self::layer::ServerLayer;
pub use self::route::Route;
pub use self::service::Server;
