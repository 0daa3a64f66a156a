//! What a client asks of an issuer, over real HTTP.

mod authentication;
mod endpoints;
mod exchange;
mod grpc;
mod layer;
mod scripted;
mod tokens;
