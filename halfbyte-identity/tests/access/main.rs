//! What callers may do.

mod decisions;
mod findings;
mod isolation;
mod kit;
mod log;
mod reload;
