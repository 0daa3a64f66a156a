//! For tests of what is made with this crate, by the feature `testing`.

mod checks;
pub mod conformance;
mod lending;
mod report;
mod trial;
