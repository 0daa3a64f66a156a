//! Who waits for whom: the spans of a local root are held until its fate is known. No clock, no I/O, no locks.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::SpanId;

/// What it takes to remember a local root, and any other span, in bytes.
const ROOT: usize = 224;
const MEMBER: usize = 56;

/// When a trace is kept and how much is held.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// A local root that takes this long is worth keeping.
    pub(super) slow: Option<Duration>,
    /// How long the end of a local root is waited for.
    pub(super) patience: Duration,
    /// How many spans of a local root are held.
    pub(super) spans: usize,
    /// How many fates are remembered for spans that start after everything else has ended.
    pub(super) remembered: usize,
}

/// The memory that several buffers share.
#[derive(Debug)]
pub(super) struct Budget {
    cap: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, used: AtomicUsize::new(0) }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let with = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.cap);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What became of unsampled spans that have ended. They add up with those that are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Went on, because their trace erred or was slow.
    pub kept: u64,
    /// Forgotten with a trace that was neither.
    pub discarded: u64,
    /// Lost before their trace was decided: for want of memory, as one too many, or since their local root never ended.
    pub given_up: u64,
    /// Still waiting.
    pub held: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Discarded,
}

#[derive(Debug)]
struct Root<S> {
    fate: Option<Fate>,
    /// How many of its spans have not ended, the root among them.
    open: usize,
    /// Its other spans, ended or not: a span may start after its parent has ended.
    members: Vec<SpanId>,
    held: Vec<S>,
    held_bytes: usize,
}

/// A span that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) span: SpanId,
    /// Has no parent in this process.
    pub(super) is_local_root: bool,
    pub(super) erred: bool,
    pub(super) took: Duration,
    pub(super) bytes: usize,
}

/// What goes on.
#[derive(Debug)]
pub(super) struct Released<S> {
    held: Vec<S>,
    last: Option<S>,
}

impl<S> Released<S> {
    fn nothing() -> Self {
        Self { held: Vec::new(), last: None }
    }
}

impl<S> IntoIterator for Released<S> {
    type Item = S;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<S>, std::option::IntoIter<S>>;

    fn into_iter(self) -> Self::IntoIter {
        self.held.into_iter().chain(self.last)
    }
}

/// Spans of local roots whose fate is not known, and for a while the fates of others.
#[derive(Debug)]
pub(super) struct Buffer<S> {
    policy: Policy,
    budget: Arc<Budget>,
    roots: HashMap<SpanId, Root<S>, BuildHasherDefault<Ids>>,
    /// The local root of every other span.
    members: HashMap<SpanId, SpanId, BuildHasherDefault<Ids>>,
    /// Roots in the order in which they started; some may be decided or forgotten meanwhile.
    undecided: VecDeque<(SpanId, Duration)>,
    /// Roots in the order in which they began to hold; some may hold nothing any more.
    holding: VecDeque<SpanId>,
    /// Roots in the order in which they were decided.
    decided: VecDeque<SpanId>,
    counts: Kept,
    /// Nothing is held any more.
    is_closed: bool,
}

impl<S> Buffer<S> {
    pub(super) fn new(policy: Policy, budget: Arc<Budget>) -> Self {
        Self {
            policy,
            budget,
            roots: HashMap::default(),
            members: HashMap::default(),
            undecided: VecDeque::new(),
            holding: VecDeque::new(),
            decided: VecDeque::new(),
            counts: Kept::default(),
            is_closed: false,
        }
    }

    pub(super) fn counts(&self) -> Kept {
        self.counts
    }

    /// An unsampled span starts at `now`; `parent` is one of this process. Answers what `now` made go on.
    pub(super) fn start(&mut self, now: Duration, span: SpanId, parent: Option<SpanId>) -> Vec<S> {
        let released = self.expire(now);
        match parent.map(|parent| self.root_of(parent)) {
            None if self.is_closed => {}
            None => self.start_root(now, span),
            Some(Some(root)) => self.start_member(span, root),
            // Of a trace that is not known, or no longer: not to be taken for one that ends with this span.
            Some(None) => {}
        }
        released
    }

    /// An unsampled span has ended.
    pub(super) fn end(&mut self, ended: Ended, payload: S) -> Released<S> {
        let Some(id) = self.root_of(ended.span) else { return self.end_stray(ended, payload) };
        let is_root = id == ended.span;
        let is_bad = ended.erred || is_root && self.is_slow(ended.took);
        let Some(root) = self.roots.get_mut(&id) else { return Released::nothing() };
        root.open = root.open.saturating_sub(1);
        let mut held = Vec::new();
        let fate = match root.fate {
            Some(fate) => fate,
            // An error decides at once: nothing that comes later could change it.
            None if is_bad => {
                held = self.decide(id, Fate::Kept);
                Fate::Kept
            }
            None if is_root => {
                self.decide(id, Fate::Discarded);
                Fate::Discarded
            }
            None => {
                self.hold(id, ended.bytes, payload);
                return Released::nothing();
            }
        };
        Released { held, last: self.follow(fate, payload) }
    }

    /// Gives up everything that is held, and forgets the rest. Nothing comes to it: a span that starts or ends at the same moment
    /// as the provider shuts down finds the memory given back for good, and is judged by itself.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        let all: Vec<_> = self.roots.keys().copied().collect();
        for id in all {
            self.give_up(id);
            self.forget(id);
        }
        self.undecided.clear();
        self.holding.clear();
        self.decided.clear();
    }

    fn root_of(&self, span: SpanId) -> Option<SpanId> {
        if self.roots.contains_key(&span) { Some(span) } else { self.members.get(&span).copied() }
    }

    fn is_slow(&self, took: Duration) -> bool {
        self.policy.slow.is_some_and(|slow| took >= slow)
    }

    fn start_root(&mut self, now: Duration, span: SpanId) {
        if self.charge(ROOT, span) {
            let root = Root { fate: None, open: 1, members: Vec::new(), held: Vec::new(), held_bytes: 0 };
            self.roots.insert(span, root);
            self.undecided.push_back((span, now));
            self.tidy();
        }
    }

    fn start_member(&mut self, span: SpanId, id: SpanId) {
        if self.charge(MEMBER, id)
            && let Some(root) = self.roots.get_mut(&id)
        {
            root.members.push(span);
            root.open += 1;
            self.members.insert(span, id);
        }
    }

    /// A span that nothing is known of: for want of memory, or as its trace had to be forgotten. It is judged by itself.
    fn end_stray(&mut self, ended: Ended, payload: S) -> Released<S> {
        if ended.erred || ended.is_local_root && self.is_slow(ended.took) {
            return Released { held: Vec::new(), last: self.follow(Fate::Kept, payload) };
        }
        let count = if ended.is_local_root { &mut self.counts.discarded } else { &mut self.counts.given_up };
        *count += 1;
        Released::nothing()
    }

    fn follow(&mut self, fate: Fate, payload: S) -> Option<S> {
        match fate {
            Fate::Kept => {
                self.counts.kept += 1;
                Some(payload)
            }
            Fate::Discarded => {
                self.counts.discarded += 1;
                None
            }
        }
    }

    fn hold(&mut self, id: SpanId, bytes: usize, payload: S) {
        let has_room =
            self.roots.get(&id).is_some_and(|root| root.held.len() < self.policy.spans) && self.charge(bytes, id);
        match self.roots.get_mut(&id) {
            Some(root) if has_room => {
                if root.held.is_empty() {
                    self.holding.push_back(id);
                }
                root.held.push(payload);
                root.held_bytes += bytes;
                self.counts.held += 1;
            }
            _ => self.counts.given_up += 1,
        }
    }

    /// What `id` has held goes on if it is kept.
    fn decide(&mut self, id: SpanId, fate: Fate) -> Vec<S> {
        let Some(root) = self.roots.get_mut(&id) else { return Vec::new() };
        root.fate = Some(fate);
        let held = std::mem::take(&mut root.held);
        self.budget.give_back(std::mem::take(&mut root.held_bytes));
        self.decided.push_back(id);
        let count = held.len() as u64;
        self.counts.held -= count;
        self.retire();
        match fate {
            Fate::Kept => {
                self.counts.kept += count;
                held
            }
            Fate::Discarded => {
                self.counts.discarded += count;
                Vec::new()
            }
        }
    }

    /// Forgets the oldest fates when they are too many. Those that open spans wait for come last.
    fn retire(&mut self) {
        for _ in 0..2 {
            if self.decided.len() <= self.policy.remembered {
                return;
            }
            let Some(id) = self.decided.pop_front() else { return };
            if self.roots.get(&id).is_some_and(|root| root.open > 0) {
                self.decided.push_back(id);
            } else {
                self.forget(id);
            }
        }
    }

    /// Decides about roots that have been open for too long: what is slow already will not get faster.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<S> {
        let mut released = Vec::new();
        let limit = self.policy.slow.map_or(self.policy.patience, |slow| slow.min(self.policy.patience));
        while let Some(&(id, started)) = self.undecided.front() {
            let is_undecided = self.roots.get(&id).is_some_and(|root| root.fate.is_none());
            if is_undecided && now.saturating_sub(started) < limit {
                break;
            }
            self.undecided.pop_front();
            if is_undecided && self.is_slow(limit) {
                released.append(&mut self.decide(id, Fate::Kept));
            } else if is_undecided {
                self.give_up(id);
                self.forget(id);
            }
        }
        released
    }

    /// Takes `bytes` for the root `whose`, at the cost of others if need be.
    fn charge(&mut self, bytes: usize, whose: SpanId) -> bool {
        while !self.budget.take(bytes) {
            if !self.make_room(whose) {
                return false;
            }
        }
        true
    }

    /// First the memory of fates goes, then what the oldest root holds that is not `whose`.
    fn make_room(&mut self, whose: SpanId) -> bool {
        let is_other = |id: &SpanId| *id != whose;
        let place = usize::from(self.decided.front().is_some_and(|id| !is_other(id)));
        if let Some(id) = self.decided.remove(place) {
            self.forget(id);
            return true;
        }
        loop {
            let place = usize::from(self.holding.front().is_some_and(|id| !is_other(id)));
            let Some(id) = self.holding.remove(place) else { return false };
            if self.give_up(id) {
                return true;
            }
        }
    }

    /// Loses what `id` holds. It is still decided about.
    fn give_up(&mut self, id: SpanId) -> bool {
        let Some(root) = self.roots.get_mut(&id).filter(|root| !root.held.is_empty()) else { return false };
        let lost = std::mem::take(&mut root.held).len() as u64;
        self.budget.give_back(std::mem::take(&mut root.held_bytes));
        self.counts.held -= lost;
        self.counts.given_up += lost;
        true
    }

    fn forget(&mut self, id: SpanId) {
        let Some(root) = self.roots.remove(&id) else { return };
        for member in &root.members {
            self.members.remove(member);
        }
        self.budget.give_back(ROOT + MEMBER * root.members.len() + root.held_bytes);
    }

    /// Keeps the queues as short as what they are about.
    fn tidy(&mut self) {
        let most = 2 * self.roots.len() + 64;
        if self.undecided.len() > most {
            self.undecided.retain(|(id, _)| self.roots.get(id).is_some_and(|root| root.fate.is_none()));
        }
        if self.holding.len() > most {
            self.holding.retain(|id| self.roots.get(id).is_some_and(|root| !root.held.is_empty()));
        }
    }
}

/// Span ids are random already; a multiplication spreads those that somebody counts up.
#[derive(Debug, Default)]
pub(super) struct Ids(u64);

impl Hasher for Ids {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}
