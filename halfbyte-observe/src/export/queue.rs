//! Where telemetry waits until there is enough of it to send: bounded in number and in bytes, never waited for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::stats::SignalStats;

/// What the queue of one signal holds at most, in bytes of memory as far as they are known.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// What is sent at once at most, in bytes.
pub(super) const BATCH_BYTES: usize = 4_000_000;

/// The queue of one signal, with its books. One short lock guards both, so that the books balance at any time.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Notify,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many entries there may be.
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// How many entries are taken at once.
    pub(super) batch: usize,
}

struct State<T> {
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    /// What the other end was told since it last came: nothing, of a full batch, or of pressure.
    told: u8,
    closed: bool,
    books: SignalStats,
}

struct Entry<T> {
    item: T,
    /// How many items of the signal it stands for.
    items: u64,
    bytes: usize,
}

/// What the books of a signal can be asked, whatever its queue holds.
pub(super) trait Books: Send + Sync {
    fn stats(&self) -> SignalStats;
    /// How many entries the queue holds at most.
    fn capacity(&self) -> usize;
}

impl<T> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        // Memory that is never touched costs nothing; a request thread that has to grow the queue does.
        let entries = VecDeque::with_capacity(limits.entries.min(2048));
        let state = State { entries, bytes: 0, told: 0, closed: false, books: SignalStats::default() };
        Self { state: Mutex::new(state), ready: Notify::new(), limits }
    }

    /// Takes `item` in, or counts it as dropped. Never waits for room.
    pub(super) fn push(&self, item: T, items: u64, bytes: usize) {
        let mut state = self.lock();
        state.books.created += items;
        if state.closed {
            state.books.dropped.shutdown += items;
            return;
        }
        if state.entries.len() >= self.limits.entries || state.bytes.saturating_add(bytes) > self.limits.bytes {
            state.books.dropped.queue_full += items;
            return;
        }
        state.books.queued += items;
        state.bytes += bytes;
        state.entries.push_back(Entry { item, items, bytes });
        let news = if self.is_pressed(&state) { 2 } else { u8::from(self.is_full_batch(&state)) };
        let tell = news > state.told;
        state.told = news.max(state.told);
        drop(state);
        if tell {
            self.ready.notify_one();
        }
    }

    /// Takes the oldest out, at most a batch of them; they are in flight then. Also says how many items they are.
    pub(super) fn take(&self) -> (Vec<T>, u64) {
        let mut state = self.lock();
        state.told = 0;
        let (mut count, mut bytes, mut items) = (0, 0_usize, 0);
        for entry in state.entries.iter().take(self.limits.batch) {
            if count > 0 && bytes.saturating_add(entry.bytes) > BATCH_BYTES {
                break;
            }
            (count, bytes, items) = (count + 1, bytes + entry.bytes, items + entry.items);
        }
        state.bytes -= bytes;
        state.books.queued -= items;
        state.books.in_flight += items;
        (state.entries.drain(..count).map(|entry| entry.item).collect(), items)
    }

    /// Resolves when there may be a whole batch, or little room. Cancel safe.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(super) fn has_full_batch(&self) -> bool {
        self.is_full_batch(&self.lock())
    }

    /// Whether it is half full: what is taken out now should not wait in here.
    pub(super) fn has_pressure(&self) -> bool {
        self.is_pressed(&self.lock())
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whatever comes later is dropped.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Writes in the books. `write` must be quick.
    pub(super) fn book<R>(&self, write: impl FnOnce(&mut SignalStats) -> R) -> R {
        write(&mut self.lock().books)
    }

    fn is_full_batch(&self, state: &State<T>) -> bool {
        state.entries.len() >= self.limits.batch || state.bytes >= BATCH_BYTES
    }

    fn is_pressed(&self, state: &State<T>) -> bool {
        state.entries.len() >= self.limits.entries.div_ceil(2) || state.bytes >= self.limits.bytes / 2
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not what is in it, which is much, and nobody's business.
impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<T: Send> Books for Queue<T> {
    fn stats(&self) -> SignalStats {
        self.lock().books.clone()
    }

    fn capacity(&self) -> usize {
        self.limits.entries
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, timeout};

    use super::*;

    fn queue(entries: usize, bytes: usize, batch: usize) -> Queue<u32> {
        Queue::new(Limits { entries, bytes, batch })
    }

    #[test]
    fn what_comes_first_is_taken_first_and_at_most_a_batch_at_once() {
        let queue = queue(10, 1000, 3);
        (0..5).for_each(|item| queue.push(item, 2, 1));
        assert_eq!(queue.take(), (vec![0, 1, 2], 6));
        assert_eq!(queue.take(), (vec![3, 4], 4));
        assert_eq!(queue.take(), (vec![], 0));
        let stats = queue.stats();
        assert_eq!((stats.created, stats.queued, stats.in_flight), (10, 0, 10));
    }

    #[test]
    fn what_does_not_fit_in_number_or_in_bytes_is_dropped_and_counted() {
        let queue = queue(3, 100, 3);
        queue.push(0, 1, 60);
        queue.push(1, 1, 41);
        queue.push(2, 1, 40);
        queue.push(3, 1, 0);
        queue.push(4, 1, 0);
        assert_eq!(queue.take().0, [0, 2, 3]);
        let stats = queue.stats();
        assert_eq!((stats.created, stats.dropped.queue_full), (5, 2));
        assert!(stats.is_balanced());
        queue.push(5, 1, 100);
        assert_eq!(queue.take().0, [5], "what was taken makes room");
    }

    #[test]
    fn a_batch_ends_where_it_would_be_too_large_but_is_never_empty() {
        let queue = queue(10, usize::MAX, 10);
        queue.push(0, 1, BATCH_BYTES + 1);
        queue.push(1, 1, BATCH_BYTES - 1);
        queue.push(2, 1, 1);
        queue.push(3, 1, 1);
        assert_eq!(queue.take().0, [0]);
        assert_eq!(queue.take().0, [1, 2]);
        assert_eq!(queue.take().0, [3]);
    }

    #[test]
    fn what_comes_after_it_was_closed_is_dropped_and_what_was_there_stays() {
        let queue = queue(10, 1000, 10);
        queue.push(0, 1, 1);
        queue.close();
        queue.push(1, 1, 1);
        assert_eq!(queue.take().0, [0]);
        let stats = queue.stats();
        assert_eq!((stats.created, stats.dropped.shutdown), (2, 1));
        assert!(stats.is_balanced());
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_end_is_told_of_a_full_batch_and_of_a_half_full_queue() {
        let at_once = Duration::from_millis(1);
        let by_number = queue(100, 1000, 2);
        by_number.push(0, 1, 1);
        assert!(timeout(at_once, by_number.ready()).await.is_err());
        by_number.push(1, 1, 1);
        assert!(timeout(at_once, by_number.ready()).await.is_ok());

        let by_bytes = queue(100, 1000, 100);
        by_bytes.push(0, 1, 500);
        assert!(by_bytes.has_pressure() && timeout(at_once, by_bytes.ready()).await.is_ok());

        let first_one_then_the_other = queue(4, 1000, 1);
        first_one_then_the_other.push(0, 1, 1);
        assert!(timeout(at_once, first_one_then_the_other.ready()).await.is_ok());
        first_one_then_the_other.push(1, 1, 1);
        assert!(timeout(at_once, first_one_then_the_other.ready()).await.is_ok());
    }
}
