//! What callers may do.

mod decisions;
mod known;
mod layer;
mod lists;
mod parcel;
