//! Reading a secret that is current, and one that nobody has read yet; beside `aws_secretsmanager_caching`, moka with a time to
//! live, an `RwLock` and the environment in the same run. And what it costs to look for secrets in the lines of a log.
//!
//! | what | printed as | target |
//! |---|---|---|
//! | a read, on one thread, beside a bare load of arc-swap | `secrets.read.vs.arc_swap` | at most 1.5 |
//! | | `secrets.read.allocations` | 0 |
//! | | `secrets.read.vs.aws` | at most 0.05 |
//! | | `secrets.read.vs.moka` | at most 0.1 |
//! | | `secrets.read.vs.moka_get`, `secrets.read.vs.rwlock`, `secrets.read.vs.env` | stated |
//! | the same on two threads at once, beside one | `secrets.two_threads.vs.one` | at most 3 |
//! | 200 readers of a name that nobody has read | `secrets.cold.reads` | 1 |
//! | | `secrets.cold.reads.of_aws` | stated |
//! | a line of 1 KiB without a secret, with 100 secrets alive | `secrets.mask.nanoseconds_per_kib` | at most 1,000 |
//!
//! A read is what a program does before a call: it has the handle, or the peer and the name, and gets at the text. Of moka that is
//! `try_get_with_by_ref`, which fetches what is not there, as the other peer and ours do; `get` answers nothing then. Peers that
//! are `async` are polled by hand, since what is in their cache they answer without waiting.

mod cold;
mod mask;
mod peers;

use std::alloc::System;
use std::hint::black_box;
use std::sync::{Barrier, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use halfbyte::secrets::Secret;
use halfbyte_benches::{Pair, count, median, ratio, side_by_side};
use secrecy::ExposeSecret as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 60;
/// Of reads in a row.
const BATCH: u32 = 2_000;
const READS: u32 = 16;
const VALUE: &str = "correct-horse-battery-staple";

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    // What reads in the background does so on a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let secret = runtime.block_on(peers::ours(VALUE))?;
    let ours = || many(|| read(&secret));

    let swap = ArcSwapOption::from_pointee(VALUE.to_owned());
    let pair = side_by_side(ROUNDS, BATCH, ours, || many(|| bare(&swap)));
    count("secrets.read.nanoseconds", format_args!("{:.1}", nanoseconds(pair.ours) / f64::from(READS)));
    ratio("secrets.read.vs.arc_swap", pair);
    let region = Region::new(ALLOCATOR);
    (0..100).for_each(|_| _ = ours());
    count("secrets.read.allocations", region.change().allocations);

    let aws = peers::Aws::new(&runtime, VALUE, Duration::ZERO)?;
    ratio("secrets.read.vs.aws", side_by_side(ROUNDS, BATCH / 20, ours, || many(|| aws.read())));
    let moka = peers::Moka::new(&runtime, VALUE);
    ratio("secrets.read.vs.moka", side_by_side(ROUNDS, BATCH / 10, ours, || many(|| moka.read())));
    ratio("secrets.read.vs.moka_get", side_by_side(ROUNDS, BATCH / 10, ours, || many(|| moka.get())));
    let lock = RwLock::new(VALUE.to_owned());
    ratio("secrets.read.vs.rwlock", side_by_side(ROUNDS, BATCH, ours, || many(|| locked(&lock))));
    ratio("secrets.read.vs.env", side_by_side(ROUNDS, BATCH, ours, || many(peers::env)));

    two_threads(&secret);
    cold::run(&runtime)?;
    mask::run();
    Ok(())
}

/// Several reads, since one takes but a few of the nanoseconds that a clock counts.
fn many(read: impl Fn() -> usize) -> usize {
    (0..READS).map(|_| black_box(read())).sum()
}

/// Each read is a function of its own, so that none is compiled better than another for where it happens to be called.
#[inline(never)]
fn read(secret: &Secret<String>) -> usize {
    secret.load().map_or(0, |value| value.expose_secret().len())
}

#[inline(never)]
fn bare(swap: &ArcSwapOption<String>) -> usize {
    swap.load().as_ref().map_or(0, |value| value.len())
}

#[inline(never)]
fn locked(lock: &RwLock<String>) -> usize {
    lock.read().map_or(0, |value| value.len())
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// What a read takes on one thread, and on each of two that read at once.
fn two_threads(secret: &Secret<String>) {
    let on = |threads: usize| {
        let barrier = Barrier::new(threads);
        let one = || {
            barrier.wait();
            let began = Instant::now();
            (0..BATCH).for_each(|_| _ = many(|| read(secret)));
            began.elapsed() / BATCH
        };
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
        })
    };
    let (mut two, mut one) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        two.push(on(2));
        one.push(on(1));
    }
    ratio("secrets.two_threads.vs.one", Pair { ours: median(two), theirs: median(one) });
}
