//! What callers may do.

mod decision_log;
mod decisions;
mod explain;
mod findings;
mod isolation;
mod kit;
mod known;
mod layer;
mod lists;
mod log;
mod office;
mod parcel;
mod reload;
mod replay;
mod samples;
mod who_can;
