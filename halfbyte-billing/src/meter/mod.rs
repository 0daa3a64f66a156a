//! The layer that counts what was used.

mod future;
mod layer;
mod service;

pub use self::future::ResponseFuture;
pub use self::layer::MeterLayer;
pub use self::service::Meter;
