//! What `halfbyte-identity` promises: each module is one part of it, each test one sentence.

mod embedded;
mod jose;
mod layer;
mod remote;
mod support;
mod tokens;
