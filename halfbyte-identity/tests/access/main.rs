//! What callers may do.

mod decisions;
