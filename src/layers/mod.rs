//! The layers that belong to no one system: panics, drain, overload and deadlines.

mod catch_panic;
mod deadline;
mod drain_gate;
mod limit;
mod load_shed;
mod waiting;

pub use self::catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
pub use self::deadline::{Deadline, DeadlineFuture, DeadlineLayer};
pub(crate) use self::drain_gate::Unaware;
pub use self::drain_gate::{DrainGate, DrainGateFuture, DrainGateLayer};
pub(crate) use self::load_shed::Sending;
pub use self::load_shed::{LoadShed, LoadShedFuture, LoadShedLayer, Place};
pub(crate) use self::waiting::Waiting;
#[cfg(test)]
pub(crate) use self::waiting::waited;
