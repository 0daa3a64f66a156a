//! W3C Trace Context and W3C Baggage: what of a trace and its baggage is taken from requests and sent with them.

mod parent;
mod state;
mod trust;

pub(crate) use self::parent::{extract, inject};
pub use self::trust::TraceTrust;
