//! Values that are not the current one: what stands in for one that was rejected, and what was current before.

use std::time::Duration;

use tokio::time::Instant;

use super::{News, Reader};
use crate::lease::Held;
use crate::{Ask, FromSecret, Name, Reading, Stage};

impl<T: FromSecret> Reader<T> {
    /// The first value of another stage that can be used and was not rejected. The previous one may have been replaced because
    /// it is known to others, so it must be what this process had until lately, unless the policy says otherwise.
    pub(super) async fn another_stage(&self, name: &Name, rejected: &[u64]) -> Option<News> {
        let (before, any) = (self.rotation.previous_digest(), self.policy.fall_back_to_previous);
        for stage in [Stage::Pending, Stage::Previous] {
            let is_previous = stage == Stage::Previous;
            if is_previous && !any && before.is_none() {
                continue;
            }
            let asked = Instant::now();
            let reading = self.borrower.read(Ask::current(name).stage_of(stage)).await;
            let Ok(Reading { value: Some(bytes), lease, .. }) = reading else { continue };
            let digest = self.digest(Some(&bytes));
            let may_be = !is_previous || any || before == Some(digest);
            if may_be && !rejected.contains(&digest) && self.parse(&bytes).is_ok() {
                let lease = lease.map(|lease| Held::new(lease, asked));
                return Some(News { bytes, digest, stage, version: None, lease });
            }
        }
        None
    }

    /// When to ask again while something stands in for the rejected current value `of`: not before that is tried again, whatever
    /// the jitter takes off.
    pub(super) fn until_tried_again(&self, of: u64) -> Duration {
        let live = &self.policy.live;
        let rest = self.rotation.rejected_for(of);
        rest.div_f64(1.0 - live.jitter.clamp(0.0, 0.5).max(0.0)).min(live.fresh_for)
    }

    /// What was current before this process started. Verifying with it is an extra: without it, no error.
    pub(super) async fn look_back(&self) {
        let reading = self.borrower.read(Ask::current(&self.name).stage_of(Stage::Previous)).await;
        if let Ok(Reading { value: Some(bytes), lease: None, .. }) = reading
            && let Ok(value) = self.parse(&bytes)
        {
            self.rotation.keep_previous(value, 0, self.policy.rotation_window);
        }
    }
}
