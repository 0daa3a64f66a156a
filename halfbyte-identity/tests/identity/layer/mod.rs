//! The layers as a product has them around its service: the exact answer to each kind of caller.

mod answers;
mod credentials;
mod grpc;
mod leaks;
mod readiness;
mod require;

use std::future::poll_fn;
use std::pin::pin;

use halfbyte_core::{Caller, Principal};

/// What `answer` is, and whom a layer outside of it hears of.
async fn heard<T>(answer: impl Future<Output = T>) -> (T, Option<Principal>) {
    let (mut answer, mut caller) = (pin!(answer), Caller::default());
    let answer = poll_fn(|cx| caller.within(|| answer.as_mut().poll(cx))).await;
    (answer, caller.principal().cloned())
}
