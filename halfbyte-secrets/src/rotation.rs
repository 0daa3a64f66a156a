//! What a handle and what reads for it tell each other: the value before the current one, and which were rejected.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use secrecy::zeroize::Zeroize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::guarded::Guarded;

/// How long a value stays rejected: by then it may have been the backend's fault.
const REJECTED_FOR: Duration = Duration::from_secs(600);

/// How long it stays so while a value of another stage stands in for it: then it is tried again.
const STOOD_IN_FOR: Duration = Duration::from_secs(60);

/// After a value that stood in was rejected too, for how long none stands in again. It doubles while that goes on.
const HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// How many values are remembered as rejected.
const REMEMBERED: usize = 8;

/// How many rejections there may be at once, and how long it takes for another one.
const BURST: u32 = 5;
const REFILL: Duration = Duration::from_secs(10);

pub(crate) struct Rotation<T: Zeroize> {
    previous: ArcSwapOption<Previous<T>>,
    marks: Mutex<Marks>,
    /// What stands in was rejected, and whoever said so may not wait for what comes.
    hurry: Notify,
}

/// The value before the current one, while it is remembered.
pub(crate) struct Previous<T: Zeroize> {
    pub(crate) value: Arc<Guarded<T>>,
    pub(crate) generation: u64,
    until: Instant,
}

#[derive(Debug)]
struct Marks {
    /// By digest, the last one at the end.
    rejected: VecDeque<(u64, Instant)>,
    /// No read has been told of the last rejection yet.
    is_untold: bool,
    /// Generation and digest of what is served.
    served: Option<(u64, u64)>,
    /// The same of what was served before that.
    before: Option<(u64, u64)>,
    /// Of what is served in place of the current value, if something is.
    stand_in: Option<StandIn>,
    hold: Option<Hold>,
    /// Until when a generation is lent, the last one at the end.
    lent: VecDeque<(u64, Instant)>,
    /// When the next rejection would be one too many less `BURST` refills.
    spent: Option<Instant>,
}

/// A value that is served in place of the current one, on probation.
#[derive(Clone, Copy, Debug)]
struct StandIn {
    digest: u64,
    is_rejected: bool,
}

/// Nothing stands in for the current value `of`, since what did was no better.
#[derive(Clone, Copy, Debug)]
struct Hold {
    of: u64,
    until: Instant,
    length: Duration,
}

/// What came of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody had said so before.
    Noted,
    /// Somebody has just now, and the read that is to follow has not begun.
    Awaited,
    /// Somebody has, or it is not served any more.
    Known,
    /// There were too many.
    TooMany,
}

impl<T: Zeroize> Rotation<T> {
    pub(crate) fn new() -> Self {
        let marks = Marks {
            rejected: VecDeque::new(),
            is_untold: false,
            served: None,
            before: None,
            stand_in: None,
            hold: None,
            lent: VecDeque::new(),
            spent: None,
        };
        Self { previous: ArcSwapOption::empty(), marks: Mutex::new(marks), hurry: Notify::new() }
    }

    /// The value before the current one, if its window is not over.
    pub(crate) fn previous(&self) -> Option<Arc<Previous<T>>> {
        self.previous.load_full().filter(|previous| Instant::now() < previous.until)
    }

    pub(crate) fn keep_previous(&self, value: Arc<Guarded<T>>, generation: u64, window: Duration) {
        let until = Instant::now().checked_add(window);
        let previous = until.filter(|_| !window.is_zero()).map(|until| Previous { value, generation, until });
        self.previous.store(previous.map(Arc::new));
    }

    pub(crate) fn forget_previous(&self) {
        self.previous.store(None);
    }

    /// Wipes the value before the current one, if its window is over.
    pub(crate) fn end_window(&self) {
        if self.previous.load().as_ref().is_some_and(|previous| Instant::now() >= previous.until) {
            self.previous.store(None);
        }
    }

    pub(crate) fn serve(&self, generation: u64, digest: u64) {
        let mut marks = self.marks();
        marks.before = marks.served.replace((generation, digest));
        marks.stand_in = None;
    }

    /// The digest of the value before the current one, if this process itself went on from it and its window is not over.
    pub(crate) fn previous_digest(&self) -> Option<u64> {
        let previous = self.previous()?;
        let before = self.marks().before;
        before.filter(|(generation, _)| *generation == previous.generation).map(|(_, digest)| digest)
    }

    /// Notes that what is served since just now stands in for the current value `of`, which is to be tried again before long.
    pub(crate) fn stand_in(&self, of: u64) {
        let until = Instant::now() + STOOD_IN_FOR;
        let mut marks = self.marks();
        marks.stand_in = marks.served.map(|(_, digest)| StandIn { digest, is_rejected: false });
        for (digest, rejected_until) in &mut marks.rejected {
            if *digest == of {
                *rejected_until = until.min(*rejected_until);
            }
        }
    }

    /// How long it takes until the value `of` is rejected no more.
    pub(crate) fn rejected_for(&self, of: u64) -> Duration {
        let marks = self.marks();
        let until = marks.rejected.iter().find(|(digest, _)| *digest == of).map(|(_, until)| *until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Whether something may stand in for the current value `of` now. If what did was rejected too, nothing may for a while,
    /// which begins with this question.
    pub(crate) fn may_stand_in(&self, of: u64) -> bool {
        let now = Instant::now();
        let mut marks = self.marks();
        if marks.stand_in.take_if(|stand_in| stand_in.is_rejected && stand_in.digest != of).is_some() {
            let before = marks.hold.filter(|hold| hold.of == of && now < hold.until + LONGEST_HOLD);
            let length = before.map_or(HOLD, |hold| (hold.length * 2).min(LONGEST_HOLD));
            marks.hold = Some(Hold { of, until: now + length, length });
        }
        !marks.hold.is_some_and(|hold| hold.of == of && now < hold.until)
    }

    /// Notes until when `generation` is lent; a renewal moves it.
    pub(crate) fn lend(&self, generation: u64, ends: Instant) {
        let lent = &mut self.marks().lent;
        lent.retain(|(known, _)| *known != generation);
        if lent.len() == REMEMBERED {
            lent.pop_front();
        }
        lent.push_back((generation, ends));
    }

    /// Until when `generation` is lent, if it is, and is remembered.
    pub(crate) fn lease_ends(&self, generation: u64) -> Option<Instant> {
        let marks = self.marks();
        marks.lent.iter().find(|(known, _)| *known == generation).map(|(_, ends)| *ends)
    }

    /// Notes that `generation` was rejected.
    pub(crate) fn reject(&self, generation: u64) -> Verdict {
        let now = Instant::now();
        let mut marks = self.marks();
        let Some((_, digest)) = marks.served.filter(|(served, _)| *served == generation) else { return Verdict::Known };
        if marks.rejected.iter().any(|(known, until)| *known == digest && now < *until) {
            return if marks.is_untold { Verdict::Awaited } else { Verdict::Known };
        }
        match &mut marks.stand_in {
            // For nothing, once: it must not stay for want of a rejection, and there is no other one for a while.
            Some(stand_in) if stand_in.digest == digest && !stand_in.is_rejected => {
                stand_in.is_rejected = true;
                self.hurry.notify_one();
            }
            _ => {
                let spent = marks.spent.map_or(now, |spent| spent.max(now)) + REFILL;
                if spent > now + REFILL * BURST {
                    return Verdict::TooMany;
                }
                marks.spent = Some(spent);
            }
        }
        if marks.rejected.len() == REMEMBERED {
            marks.rejected.pop_front();
        }
        marks.rejected.push_back((digest, now + REJECTED_FOR));
        marks.is_untold = true;
        Verdict::Noted
    }

    /// The digests of what was rejected of late, for a read that begins.
    pub(crate) fn rejected(&self) -> Vec<u64> {
        let now = Instant::now();
        let mut marks = self.marks();
        marks.is_untold = false;
        marks.rejected.retain(|(_, until)| now < *until);
        marks.rejected.iter().map(|(digest, _)| *digest).collect()
    }

    /// Resolves when there is a reason to read at once. Cancel safe.
    pub(crate) async fn hurry(&self) {
        self.hurry.notified().await;
    }

    /// Forgets all rejections.
    pub(crate) fn forgive(&self) {
        self.marks().rejected.clear();
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
