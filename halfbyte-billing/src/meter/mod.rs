//! The layer that counts what was used.

mod body;
mod dimensions;
mod future;
mod layer;
mod rules;
mod service;
mod settling;

pub use self::body::Metered;
pub use self::future::ResponseFuture;
pub use self::layer::MeterLayer;
pub use self::rules::Answered;
pub use self::service::Meter;
