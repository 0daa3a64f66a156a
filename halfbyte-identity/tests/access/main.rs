//! What callers may do.

mod decisions;
mod explain;
mod log;
mod office;
mod replay;
mod samples;
mod who_can;
