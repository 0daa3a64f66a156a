//! The layer that lets in only who is entitled.

mod asked;
mod entitled;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod gate;
mod granted;
mod layer;
mod reservation;
mod service;

pub use self::asked::Asked;
pub(crate) use self::asked::Units;
pub use self::entitled::{Entitled, FeatureName};
pub use self::future::ResponseFuture;
pub use self::gate::Gate;
pub(crate) use self::gate::{PATIENCE, Pass, Verdict};
pub(crate) use self::granted::Granted;
pub use self::layer::EntitleLayer;
use self::reservation::Reservation;
pub(crate) use self::reservation::{Claim, Settlement};
pub use self::service::Entitle;
