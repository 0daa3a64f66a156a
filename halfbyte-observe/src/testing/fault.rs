use std::collections::VecDeque;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What goes wrong with a request to a [`Receiver`](super::Receiver).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is read and never answered; nothing of it is kept.
    Hang,
    /// It is kept at once, and answered after this time.
    Slow(Duration),
    /// It is refused; nothing of it is kept.
    Status {
        /// The status over HTTP.
        http: u16,
        /// The code over gRPC.
        grpc: u16,
        /// `Retry-After` over HTTP, in seconds, rounded up; `RetryInfo` over gRPC.
        retry_after: Option<Duration>,
    },
    /// All but the last so many spans, log records or metrics are kept, and the answer says so: a partial success.
    Reject(usize),
    /// It is kept, and the connection is closed in the middle of the answer.
    Cut,
}

impl Fault {
    /// 429 Too Many Requests, RESOURCE_EXHAUSTED.
    pub fn throttled(retry_after: impl Into<Option<Duration>>) -> Self {
        Self::Status { http: 429, grpc: 8, retry_after: retry_after.into() }
    }

    /// 503 Service Unavailable, UNAVAILABLE.
    pub fn unavailable(retry_after: impl Into<Option<Duration>>) -> Self {
        Self::Status { http: 503, grpc: 14, retry_after: retry_after.into() }
    }

    /// 400 Bad Request, INVALID_ARGUMENT: never to be sent again.
    pub fn invalid() -> Self {
        Self::Status { http: 400, grpc: 3, retry_after: None }
    }
}

/// What goes wrong from now on.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<Fault>,
    then: Option<Fault>,
}

impl Faults {
    pub(super) fn always(&self, fault: Fault) {
        *self.plan() = Plan { next: VecDeque::new(), then: Some(fault) };
    }

    pub(super) fn next(&self, times: usize, fault: Fault) {
        self.plan().next.extend(iter::repeat_n(fault, times));
    }

    pub(super) fn none(&self) {
        *self.plan() = Plan::default();
    }

    /// That of one more request.
    pub(super) fn draw(&self) -> Option<Fault> {
        let mut plan = self.plan();
        plan.next.pop_front().or_else(|| plan.then.clone())
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
