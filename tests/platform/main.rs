//! Behaviour of the assembled platform, with its embedded systems: no server is needed.

mod layers;
mod product;
mod start;
