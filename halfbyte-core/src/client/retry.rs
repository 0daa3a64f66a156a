use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;

/// Bounds retries to a tenth of the calls, with a reserve for a process that has made few.
///
/// Counted in tenths of a retry: a call pays in one, a retry takes out ten.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

const RETRY: u32 = 10;
const MOST: u32 = 100 * RETRY;

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(10 * RETRY))
    }
}

impl RetryBudget {
    pub(super) fn deposit(&self) {
        let add = |balance: u32| (balance < MOST).then_some(balance + 1);
        let _full = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Whether a retry may be made; it is then paid for.
    pub(super) fn withdraw(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| balance.checked_sub(RETRY)).is_ok()
    }
}

pub(super) fn is_worth_it(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The wait after the attempt of that number: 50 ms, doubling, less up to half at random.
pub(super) fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(50).saturating_mul(1 << attempt.saturating_sub(1).min(6)).mul_f64(1.0 - fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_with_the_budget_and_calls_pay_it_back() {
        let budget = RetryBudget::default();
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
        (0..9).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
    }

    #[test]
    fn the_budget_does_not_grow_without_bound() {
        let budget = RetryBudget::default();
        (0..10 * MOST).for_each(|_| budget.deposit());
        assert_eq!((0..MOST).filter(|_| budget.withdraw()).count(), 100);
    }
}
