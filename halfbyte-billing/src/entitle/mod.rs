//! The layer that lets in only who is entitled.

mod future;
mod gate;
mod layer;
mod reservation;
mod service;

pub use self::future::ResponseFuture;
pub(crate) use self::gate::{Gate, Verdict};
pub use self::layer::EntitleLayer;
pub(crate) use self::reservation::Reservation;
pub use self::service::Entitle;
