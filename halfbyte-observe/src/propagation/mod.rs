//! W3C Trace Context and W3C Baggage: what of a trace and its baggage is taken from requests and sent with them.

mod baggage;
mod carried;
#[cfg(test)]
mod oracle;
mod parent;
mod propagators;
mod random;
mod state;
mod trust;

pub(crate) use self::carried::Carried;
pub(crate) use self::parent::RANDOM;
pub use self::propagators::{BaggageKeys, Propagators};
pub(crate) use self::random::{Flagged, flagged};
pub use self::trust::TraceTrust;
pub(crate) use self::trust::canonical;
