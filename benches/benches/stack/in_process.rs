//! One request at a time, without sockets.

use halfbyte_benches::{count, ratio, side_by_side};

use crate::product::{Asks, Failure, InProcess};

const ROUNDS: usize = 60;
const BATCH: u32 = 200;

/// What each route takes over the same handler on bare axum; `name` is said before that of the route.
pub fn measure(name: &str, endpoint: Option<&str>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let process = InProcess::new(folder.path(), endpoint)?;
    for (asks, route) in Asks::ALL {
        let name = format!("{name}.{asks}");
        process.warm(route);
        let ours = || process.call(&process.ours, route);
        let pair = side_by_side(ROUNDS, BATCH, ours, || process.call(&process.bare, route));
        ratio(&format!("{name}.vs.bare"), pair);
        count(&format!("{name}.added_nanoseconds"), pair.ours.saturating_sub(pair.theirs).as_nanos());
        process.flush()?;
    }
    Ok(())
}
