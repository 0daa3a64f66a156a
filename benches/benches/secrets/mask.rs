//! Looking for live secrets in the lines of a log, which seldom hold one.

use halfbyte::core::fingerprint;
use halfbyte_benches::{count, median, time_of};

use crate::{ROUNDS, nanoseconds};

const LIVE: usize = 100;
const LINES: u32 = 200;

pub fn run() {
    let secrets: Vec<_> = (0..LIVE).map(|_| format!("{:032x}", fastrand::u128(..))).collect();
    let _live: Vec<_> = secrets.iter().map(|secret| fingerprint::register(secret.as_bytes())).collect();
    // As an access log has them, made up anew for each line so that none is predicted.
    let line = || {
        let mut line = String::with_capacity(1100);
        while line.len() < 1024 {
            let (id, took) = (fastrand::u64(..), fastrand::u16(..));
            line.push_str(&format!(
                "GET /labels/{id:x}?page={} 200 {took}us tenant=acme user-agent=curl/8.5 ",
                id % 97
            ));
        }
        line.truncate(1024);
        line
    };
    let times: Vec<_> = (0..ROUNDS).map(|_| time_of(LINES, line, |line| fingerprint::mask(&line).len())).collect();
    count("secrets.mask.nanoseconds_per_kib", format_args!("{:.0}", nanoseconds(median(times))));
}
