//! The layers as a product has them around its service: the exact answer to each kind of caller.

mod answers;
mod credentials;
mod grpc;
mod leaks;
mod readiness;
mod require;
