//! What callers may do.

mod decision_log;
mod decisions;
mod explain;
mod office;
mod replay;
mod samples;
mod who_can;
