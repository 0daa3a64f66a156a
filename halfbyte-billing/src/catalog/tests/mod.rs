//! Tests of the catalogue as a whole.

mod faults;
mod generated;
mod values;
