//! What callers may do.

mod around;
mod asked;
mod decision_log;
mod decisions;
mod denials;
mod explain;
mod findings;
mod isolation;
mod kit;
mod known;
mod layer;
mod lists;
mod log;
mod nested;
mod office;
mod parcel;
mod reload;
mod replay;
mod samples;
mod who_can;
mod why;
