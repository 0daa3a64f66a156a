//! What is going on on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How often a connection is looked at while a client may take nothing.
const LOOKS: u32 = 2;

/// After how many looks what was not taken has been there for longer than two pieces of a stream may take, one behind the other.
const TOO_OLD: usize = 2 * LOOKS as usize + 1;

/// What those who speak on a connection and those who decide about it tell each other.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that are not answered to the end, and parts of responses that are not sent.
    open: AtomicUsize,
    /// How many requests there were.
    begun: AtomicUsize,
    /// Parts of responses of HTTP/2 that are not sent, by the look that they were made after.
    unsent: [AtomicUsize; TOO_OLD],
    looks: AtomicUsize,
    is_blocked: AtomicBool,
    is_http2: AtomicBool,
    is_upgraded: AtomicBool,
    knows: AtomicBool,
}

impl Activity {
    /// Whether bytes wait for the other end to take some.
    pub(super) fn blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// It speaks HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
    }

    /// It speaks a protocol of which nothing is known from now on.
    pub(super) fn upgrades(&self) {
        self.is_upgraded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Relaxed)
    }

    /// Its client has been told that the connection ends, and has had the time to know.
    pub(super) fn knows(&self) {
        self.knows.store(true, Ordering::Relaxed);
    }

    /// A request has come: it, whether it is the first, and whether its client could know that there ought to be none.
    pub(super) fn begin(self: &Arc<Self>) -> (Open, bool, bool) {
        let is_first = self.begun.fetch_add(1, Ordering::Relaxed) == 0;
        let knows = self.knows.load(Ordering::Relaxed);
        // One that comes nevertheless is answered, and holds up nothing.
        (Open::counted((!knows).then(|| self.clone())), is_first, knows)
    }

    fn is_busy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.is_blocked.load(Ordering::Relaxed)
    }

    /// Resolves when nothing was open and nothing waited to be sent for as long as `patience`, and no request came but for those of a
    /// client that knows that there ought to be none.
    pub(super) async fn unused(&self, patience: Duration) {
        let (mut since, mut begun) = (Instant::now(), self.begun.load(Ordering::Relaxed));
        while since.elapsed() < patience {
            sleep(patience / 10).await;
            let now = self.begun.load(Ordering::Relaxed);
            let is_asked = std::mem::replace(&mut begun, now) != now && !self.knows.load(Ordering::Relaxed);
            if self.is_busy() || is_asked {
                since = Instant::now();
            }
        }
    }

    /// Looks at a connection of HTTP/2 for as long as it is in order: one that is not used for `idle`, or whose client leaves the end of a
    /// response for more than twice as long as `stall`, is not.
    pub(super) async fn watch(&self, idle: Duration, stall: Duration) -> Finding {
        let every = stall / LOOKS;
        let mut looks = interval(every);
        // Those that were missed, as when the process was stopped, make nothing older.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut begun, mut used) = (0, Instant::now());
        loop {
            looks.tick().await;
            let look = self.looks.load(Ordering::Relaxed) + 1;
            // Where the next ones will be counted, those of so many looks ago were.
            if self.unsent[look % self.unsent.len()].load(Ordering::Relaxed) > 0 {
                return Finding::Stalled;
            }
            self.looks.store(look, Ordering::Relaxed);
            let now = self.begun.load(Ordering::Relaxed);
            if self.is_busy() || std::mem::replace(&mut begun, now) != now || !self.is_http2.load(Ordering::Relaxed) {
                used = Instant::now();
            } else if used.elapsed() >= idle {
                return Finding::Idle;
            }
        }
    }
}

/// What is wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Idle,
    Stalled,
}

/// A request, until its last clone is dropped.
#[derive(Debug)]
pub(super) struct Open(Option<Arc<Activity>>);

impl Open {
    fn counted(activity: Option<Arc<Activity>>) -> Self {
        if let Some(activity) = &activity {
            activity.open.fetch_add(1, Ordering::Relaxed);
        }
        Self(activity)
    }

    /// A part of its response over HTTP/2 waits to be sent from now on.
    pub(super) fn unsent(&self) -> Unsent {
        let slot = self.0.as_ref().map(|activity| {
            let slot = activity.looks.load(Ordering::Relaxed) % activity.unsent.len();
            activity.unsent[slot].fetch_add(1, Ordering::Relaxed);
            slot
        });
        Unsent { open: self.clone(), slot: slot.unwrap_or(0) }
    }
}

impl Clone for Open {
    fn clone(&self) -> Self {
        Self::counted(self.0.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A part of a response, until it was sent.
#[derive(Debug)]
pub(super) struct Unsent {
    open: Open,
    slot: usize,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(activity) = &self.open.0 {
            activity.unsent[self.slot].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn of_http2() -> Arc<Activity> {
        let activity = Arc::<Activity>::default();
        activity.speaks_http2();
        activity
    }

    async fn found(activity: &Activity) -> (Option<Finding>, u64) {
        let begun = Instant::now();
        let found = timeout(1000 * SECOND, activity.watch(75 * SECOND, 60 * SECOND)).await.ok();
        (found, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_that_is_not_used_is_found_and_none_of_http1() {
        assert_eq!(found(&of_http2()).await, (Some(Finding::Idle), 90));
        assert_eq!(found(&Activity::default()).await.0, None, "HTTP/1 has a time for the next head");
    }

    #[tokio::test(start_paused = true)]
    async fn one_with_a_request_or_with_bytes_that_wait_is_used_and_so_is_one_that_was_between_two_looks() {
        let activity = of_http2();
        let open = activity.begin().0;
        assert_eq!(found(&activity).await.0, None);
        drop(open);
        activity.blocked(true);
        assert_eq!(found(&activity).await.0, None);
        activity.blocked(false);
        let asks = async {
            for _ in 0..20 {
                sleep(40 * SECOND).await;
                drop(activity.begin());
            }
        };
        assert_eq!(tokio::join!(found(&activity), asks).0, (Some(Finding::Idle), 20 * 40 + 10 + 90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_never_sent_is_found_though_others_are() {
        let activity = of_http2();
        let open = activity.begin().0;
        let watch = async { found(&activity).await };
        let sends = async {
            sleep(10 * SECOND).await;
            let stays = open.unsent();
            for _ in 0..100 {
                let goes = open.unsent();
                sleep(SECOND).await;
                drop(goes);
            }
            sleep(1000 * SECOND).await;
            drop(stays);
        };
        tokio::select! {
            found = watch => assert_eq!(found, (Some(Finding::Stalled), 150)),
            () = sends => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_after_the_process_was_stopped_for_a_while_is_new() {
        let activity = of_http2();
        let open = activity.begin().0;
        let watch = timeout(100 * SECOND, activity.watch(75 * SECOND, 60 * SECOND));
        let stops = async {
            sleep(SECOND).await;
            let unsent = open.unsent();
            tokio::time::advance(1000 * SECOND).await;
            sleep(SECOND).await;
            drop(unsent);
        };
        assert_eq!(tokio::join!(watch, stops).0.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_answered_between_two_looks_keep_a_connection() {
        let activity = of_http2();
        let asks = async {
            loop {
                sleep(SECOND * 3 / 4).await;
                drop(activity.begin());
            }
        };
        tokio::select! {
            unused = timeout(100 * SECOND, activity.unused(10 * SECOND)) => assert!(unused.is_err()),
            () = asks => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_after_the_client_knows_of_the_end_holds_up_nothing() {
        let activity = of_http2();
        let before = activity.begin().0;
        activity.knows();
        let (after, is_first, knows) = activity.begin();
        assert!(!is_first && knows);
        let _unsent = after.unsent();
        assert!(timeout(1000 * SECOND, activity.unused(10 * SECOND)).await.is_err());
        drop(before);
        let asks = async {
            loop {
                sleep(SECOND / 2).await;
                drop(activity.begin());
            }
        };
        tokio::select! {
            unused = timeout(12 * SECOND, activity.unused(10 * SECOND)) => assert!(unused.is_ok()),
            () = asks => unreachable!(),
        }
    }
}
