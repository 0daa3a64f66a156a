//! Series that are looked up without a lock and recorded into without their attributes, and the exemplars beside them.

mod durations;
mod exemplars;
mod filter;
mod table;
mod texts;

pub(crate) use self::durations::Durations;
pub(crate) use self::exemplars::Exemplars;
pub(crate) use self::filter::ExemplarFilter;
pub(crate) use self::table::{Table, hash_of_bytes};
pub(crate) use self::texts::Texts;
