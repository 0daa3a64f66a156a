//! What tests and demonstrations need to see telemetry arrive: a [`Receiver`] in the place of a collector.

mod read;
mod receiver;

pub use self::read::{Log, Span};
pub use self::receiver::{Received, Receiver};
