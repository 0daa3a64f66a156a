//! Which spans go on: by the sampler where a trace begins, and by how it went where it was not sampled.

mod buffer;
mod limits;
#[cfg(test)]
mod model;
mod processor;
mod sampler;
mod size;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

pub use self::buffer::Kept;
use self::buffer::{Budget, Buffer, Policy};
pub(crate) use self::limits::Limits;
pub(crate) use self::processor::Counts;
pub(crate) use self::processor::Keeper;
pub(crate) use self::sampler::{Recording, Sampler};

/// How many fates each of the locks remembers.
const REMEMBERED: usize = 256;

/// Which unsampled traces are kept after all: those that erred, and those that were slow.
///
/// Spans of a trace that is not sampled are recorded and held, for each *local root*: the span without a parent in this
/// process. When one of them ends with the status Error, when the local root ends and took long, or when it has been open for
/// that long, they all go on, and those that end later follow; when the local root ends otherwise, they are forgotten, as are
/// those that end later, errors or not. Each local root is decided by itself, also where several are of one trace.
///
/// Memory is bounded: where it ends, the trace that has held the longest loses what it holds, then what comes is lost; both
/// are counted. A span that erred before its local root ended is never lost, whatever room there is.
///
/// # What others see
///
/// Nothing: a kept span was told to be "not sampled" to everyone downstream, and is exported with just these flags. The
/// specification says that exporters should not receive such spans (SDK, "Sampling"); a collector takes them, but what counts
/// spans by their sampled flag does not see them, which keeps statistics of sampled spans unbiased. Other processes decide
/// for themselves: a kept trace holds their spans only if they keep it too.
///
/// # Cost
///
/// Every span is recorded, as if everything were sampled; what is not exported still took its attributes' allocations.
#[derive(Clone, Debug)]
pub struct Keep {
    slow: Option<Duration>,
    memory: usize,
    spans: usize,
    patience: Duration,
}

impl Default for Keep {
    /// Errors, and local roots that took a second; at most 16 MiB and 1,000 spans of a local root, and up to 5 minutes.
    fn default() -> Self {
        Self {
            slow: Some(Duration::from_secs(1)),
            memory: 16 * 1024 * 1024,
            spans: 1000,
            patience: Duration::from_secs(300),
        }
    }
}

impl Keep {
    /// Keeps what takes at least `slow`; `None` keeps errors only.
    #[must_use]
    pub fn slower_than(mut self, slow: impl Into<Option<Duration>>) -> Self {
        self.slow = slow.into();
        self
    }

    /// How many bytes the held spans may take in all, as far as they can be told.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How many spans of one local root are held; what is more is lost, unless it is what erred or ends after the decision.
    #[must_use]
    pub fn spans_per_trace(mut self, spans: usize) -> Self {
        self.spans = spans;
        self
    }

    /// How long the end of a local root is waited for.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn buffers<S>(&self, count: usize) -> (Arc<Budget>, Vec<Buffer<S>>) {
        let policy = Policy { slow: self.slow, patience: self.patience, spans: self.spans, remembered: REMEMBERED };
        let budget = Arc::new(Budget::new(self.memory));
        let buffers = (0..count).map(|_| Buffer::new(policy.clone(), budget.clone())).collect();
        (budget, buffers)
    }
}
