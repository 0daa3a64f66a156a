//! What the benches share: a way to time two things side by side that a noisy machine does not spoil, and the lines that
//! they print.
//!
//! Each bench states its budget in its own documentation and prints one line a comparison:
//! `RATIO <crate>.<what>.vs.<peer> <ours/theirs>` (below 1 is faster) and `COUNT <what> <n>`.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The median times of one operation each, measured in turns.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Of the first operation.
    pub ours: Duration,
    /// Of the second.
    pub theirs: Duration,
}

/// Runs `ours` and `theirs` in turns for `rounds` rounds of `batch` operations and answers the median of each.
///
/// In turns, so that whatever else the machine does meets both; the median, so that a round that was disturbed does not
/// count.
pub fn side_by_side<A, B>(
    rounds: usize,
    batch: u32,
    mut ours: impl FnMut() -> A,
    mut theirs: impl FnMut() -> B,
) -> Pair {
    let mut times = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        times.0.push(time(batch, &mut ours));
        times.1.push(time(batch, &mut theirs));
    }
    Pair { ours: median(times.0), theirs: median(times.1) }
}

/// Like [`side_by_side`], of operations that use something up: beside each stands what makes it, which is not timed.
pub fn side_by_side_of<I, J, A, B>(
    rounds: usize,
    batch: u32,
    (mut our_input, mut ours): (impl FnMut() -> I, impl FnMut(I) -> A),
    (mut their_input, mut theirs): (impl FnMut() -> J, impl FnMut(J) -> B),
) -> Pair {
    let mut times = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        times.0.push(time_of(batch, &mut our_input, &mut ours));
        times.1.push(time_of(batch, &mut their_input, &mut theirs));
    }
    Pair { ours: median(times.0), theirs: median(times.1) }
}

/// The mean time of `operation` over a batch of what `input` makes beforehand.
pub fn time_of<I, T>(batch: u32, mut input: impl FnMut() -> I, mut operation: impl FnMut(I) -> T) -> Duration {
    let inputs: Vec<I> = (0..batch).map(|_| input()).collect();
    let began = Instant::now();
    for input in inputs {
        black_box(operation(input));
    }
    began.elapsed() / batch
}

fn time<T>(batch: u32, operation: &mut impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..batch {
        black_box(operation());
    }
    began.elapsed() / batch
}

/// The value in the middle.
///
/// # Panics
///
/// With no values.
pub fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Prints a comparison as a line that tools read.
pub fn ratio(name: &str, pair: Pair) {
    println!("RATIO {name} {:.3}", pair.ours.as_secs_f64() / pair.theirs.as_secs_f64());
}

/// Prints a count as a line that tools read.
pub fn count(name: &str, number: impl std::fmt::Display) {
    println!("COUNT {name} {number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_the_input_is_not_timed() {
        let slow = || std::thread::sleep(Duration::from_millis(5));
        let pair = side_by_side_of(3, 2, (slow, |()| ()), (|| (), |()| slow()));
        assert!(pair.ours < Duration::from_millis(5) && pair.theirs >= Duration::from_millis(5), "{pair:?}");
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9, 1, 5]), 5);
        assert_eq!(median(vec![1, 2, 3, 100]), 3);
    }
}
