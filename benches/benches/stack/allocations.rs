//! What each route of the bench `stack` allocates over the same handler on bare axum: at most 12 times a request.
//!
//! A program of its own, since to count costs time.

use std::alloc::System;

use halfbyte_benches::{count, median};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[allow(dead_code, reason = "the servers and the times are measured by another program")]
mod product;

use product::{Asks, Failure, InProcess};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let process = InProcess::new(folder.path(), None)?;
    for (asks, route) in Asks::ALL {
        process.warm(route);
        let ours = allocations(|| process.call(&process.ours, route));
        let bare = allocations(|| process.call(&process.bare, route));
        count(&format!("stack.{asks}.added_allocations"), ours.saturating_sub(bare));
        process.settle()?;
    }
    Ok(())
}

/// The median of the allocations of one operation: what others do in between now and then does not count.
fn allocations<T>(mut operation: impl FnMut() -> T) -> usize {
    let one = |_| {
        let region = Region::new(ALLOCATOR);
        std::hint::black_box(operation());
        region.change().allocations
    };
    median((0..1_001).map(one).collect())
}
