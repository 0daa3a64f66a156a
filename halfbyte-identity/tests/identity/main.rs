//! What `halfbyte-identity` promises: each module is one part of it, each test one sentence.

mod api_keys;
mod attacked;
mod embedded;
mod jose;
mod layer;
mod outbound;
mod remote;
mod revoked;
mod support;
mod testing;
