//! One request at a time, without sockets.

use std::time::Duration;

use halfbyte_benches::{Pair, count, median, ratio, side_by_side};

use crate::product::{Asks, Failure, InProcess};

const ROUNDS: usize = 200;

/// About as many as come while usage gathers for a commit.
const BATCH: u32 = 200;

/// So many are not timed before each batch.
const WARM: u32 = 50;

/// What each route takes over the same handler on bare axum; `name` is said before that of the route.
pub fn measure(name: &str, endpoint: Option<&str>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let process = InProcess::new(folder.path(), endpoint)?;
    for (asks, route) in Asks::ALL {
        let name = format!("{name}.{asks}");
        process.warm(route);
        process.settle()?;
        let ours = || process.call(&process.ours, route);
        let mut pairs = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            // What was committed in between has taken their place in the processor's caches.
            side_by_side(1, WARM, &ours, || process.call(&process.bare, route));
            pairs.push(side_by_side(1, BATCH, &ours, || process.call(&process.bare, route)));
            // Nothing else runs on this thread meanwhile; served, it is done every few milliseconds by another.
            process.settle()?;
        }
        let of = |which: fn(&Pair) -> Duration| median(pairs.iter().map(which).collect());
        let pair = Pair { ours: of(|pair| pair.ours), theirs: of(|pair| pair.theirs) };
        ratio(&format!("{name}.vs.bare"), pair);
        count(&format!("{name}.added_nanoseconds"), pair.ours.saturating_sub(pair.theirs).as_nanos());
    }
    Ok(())
}
