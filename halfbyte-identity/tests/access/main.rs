//! What callers may do.

mod decisions;
mod findings;
mod isolation;
mod kit;
mod known;
mod layer;
mod lists;
mod log;
mod parcel;
mod reload;
