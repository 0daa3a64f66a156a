//! Credentials that are no longer good although they have not expired.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use halfbyte_core::{Clock, Principal};
use jiff::Timestamp;
use tokio::sync::watch;

/// What was revoked in this process, from [`Identity::revocations`](crate::Identity::revocations). Cheap to clone.
///
/// A revocation holds from the next request on, and ends streams that are [tied](crate::tie) to their principal. It is kept
/// in memory: tell every process of a product, from the place where the product learns of it. The embedded issuer and the
/// store of API keys have revocations of their own, which all processes learn of.
///
/// ```
/// # fn example(identity: &halfbyte_identity::Identity, caller: &halfbyte_core::Principal) {
/// let revocations = identity.revocations();
/// revocations.credential(caller); // this token
/// revocations.subject(caller.issuer(), caller.subject()); // every token of the subject so far
/// # }
/// ```
///
/// "Until now" is compared with `iat`, which is the issuer's clock: a token of one that is ahead may be from after now. A
/// token without `iat` counts as issued before any revocation.
///
/// At most 100,000 are kept. When there are more, those of the issuer with most of them are replaced by one that covers all
/// that it has issued so far: too much is refused rather than too little.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    clock: Clock,
    revoked: RwLock<Revoked>,
    /// Counts the revocations; who has seen as many need not look again. Read with every request, and so not locked.
    count: AtomicU64,
    /// The same, for those who wait.
    pushed: watch::Sender<u64>,
    most: usize,
}

#[derive(Default)]
struct Revoked {
    credentials: HashMap<Name, Ending>,
    sessions: HashMap<Name, Ending>,
    /// By subject: what was issued up to then.
    subjects: HashMap<Name, Ending>,
    /// By issuer: what was issued up to then.
    issuers: HashMap<Box<str>, Timestamp>,
}

/// Something of an issuer's.
type Name = (Box<str>, Box<str>);

#[derive(Clone, Copy)]
struct Ending {
    /// What was issued up to then is revoked.
    issued_up_to: Timestamp,
    /// When it can be forgotten, as all that it revokes has expired.
    forget_at: Timestamp,
}

const MOST: usize = 100_000;

impl Revocations {
    pub(crate) fn new(clock: Clock) -> Self {
        Self::with_at_most(MOST, clock)
    }

    fn with_at_most(most: usize, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            revoked: RwLock::default(),
            count: AtomicU64::new(0),
            pushed: watch::Sender::new(0),
            most,
        }))
    }

    /// Revokes the one credential that `principal` came with. One that its issuer gave no id (`jti`) is revoked together
    /// with all others of its subject that were issued until now.
    pub fn credential(&self, principal: &Principal) {
        match principal.credential_id() {
            Some(id) => self.credential_by_id(principal.issuer(), id, Some(principal.expires_at())),
            None => self.subject(principal.issuer(), principal.subject()),
        }
    }

    /// Revokes the credential with that id (`jti`); `expires_at` is when it ends by itself, where that is known.
    pub fn credential_by_id(&self, issuer: &str, id: &str, expires_at: Option<Timestamp>) {
        let forget_at = expires_at.and_then(|at| at.checked_add(crate::claims::LEEWAY_SPAN).ok());
        let ending = Ending { issued_up_to: Timestamp::MAX, forget_at: forget_at.unwrap_or(Timestamp::MAX) };
        self.push(|revoked| put(&mut revoked.credentials, name(issuer, id), ending));
    }

    /// Revokes all that was issued in the session of that id (`sid`), which has ended.
    pub fn session(&self, issuer: &str, session: &str) {
        let ending = Ending { issued_up_to: Timestamp::MAX, forget_at: Timestamp::MAX };
        self.push(|revoked| put(&mut revoked.sessions, name(issuer, session), ending));
    }

    /// Revokes all that was issued to the subject until now.
    pub fn subject(&self, issuer: &str, subject: &str) {
        self.subject_up_to(issuer, subject, self.0.clock.now());
    }

    pub(crate) fn subject_up_to(&self, issuer: &str, subject: &str, issued_up_to: Timestamp) {
        let ending = Ending { issued_up_to, forget_at: Timestamp::MAX };
        self.push(|revoked| put(&mut revoked.subjects, name(issuer, subject), ending));
    }

    /// Revokes everything that the issuer has issued up to `at`.
    pub fn issued_up_to(&self, issuer: &str, at: Timestamp) {
        self.push(|revoked| revoked.before(issuer, at));
    }

    /// How many revocations there have been.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Hears of every revocation.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.pushed.subscribe()
    }

    /// Whether the credential that `principal` came with is revoked.
    pub fn covers(&self, principal: &Principal) -> bool {
        // As it is in most processes, and then without a lock.
        if self.count() == 0 {
            return false;
        }
        // One that does not say when it was issued may have been issued at any time.
        let issued_at = principal.issued_at().unwrap_or(Timestamp::MIN);
        let revoked = self.0.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let covers = |map: &HashMap<Name, Ending>, id: Option<&str>| {
            id.is_some_and(|id| {
                map.get(&name(principal.issuer(), id)).is_some_and(|ending| issued_at <= ending.issued_up_to)
            })
        };
        covers(&revoked.credentials, principal.credential_id())
            || covers(&revoked.sessions, principal.session())
            || covers(&revoked.subjects, Some(principal.subject()))
            || revoked.issuers.get(principal.issuer()).is_some_and(|up_to| issued_at <= *up_to)
    }

    /// `add` says whether it revokes what was not revoked before: nobody need look again for what is said twice.
    fn push(&self, add: impl FnOnce(&mut Revoked) -> bool) {
        let mut revoked = self.0.revoked.write().unwrap_or_else(PoisonError::into_inner);
        let is_full = revoked.len() >= self.0.most;
        if is_full {
            revoked.make_room(self.0.most, self.0.clock.now());
        }
        let is_news = add(&mut revoked);
        drop(revoked);
        if is_news || is_full {
            // After the revocation is in: whoever sees the new count finds it.
            let count = self.0.count.fetch_add(1, Ordering::AcqRel) + 1;
            self.0.pushed.send_replace(count);
        }
    }
}

impl Revoked {
    fn len(&self) -> usize {
        self.credentials.len() + self.sessions.len() + self.subjects.len()
    }

    fn before(&mut self, issuer: &str, at: Timestamp) -> bool {
        let known = self.issuers.get(issuer).copied();
        let is_news = known.is_none_or(|known| known < at);
        if is_news {
            self.issuers.insert(issuer.into(), at);
        }
        is_news
    }

    /// Drops what has ended by itself, and where that is not enough, all of the issuers that have most revocations.
    fn make_room(&mut self, most: usize, now: Timestamp) {
        for map in [&mut self.credentials, &mut self.sessions, &mut self.subjects] {
            map.retain(|_, ending| ending.forget_at > now);
        }
        while self.len() > most / 2 {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            for (issuer, _) in self.credentials.keys().chain(self.sessions.keys()).chain(self.subjects.keys()) {
                *counts.entry(issuer).or_default() += 1;
            }
            let Some(issuer) = counts.into_iter().max_by_key(|(_, count)| *count).map(|(issuer, _)| issuer.to_owned())
            else {
                return;
            };
            tracing::warn!(issuer, "too many revocations: everything that this issuer has issued so far is revoked");
            let _is_news = self.before(&issuer, now);
            for map in [&mut self.credentials, &mut self.sessions, &mut self.subjects] {
                map.retain(|(of, _), _| **of != *issuer);
            }
        }
    }
}

/// Adds to what is revoked, and takes nothing of it back; answers whether more is revoked than before.
fn put(map: &mut HashMap<Name, Ending>, name: Name, ending: Ending) -> bool {
    let Some(known) = map.get_mut(&name) else {
        map.insert(name, ending);
        return true;
    };
    let is_news = known.issued_up_to < ending.issued_up_to;
    known.issued_up_to = known.issued_up_to.max(ending.issued_up_to);
    known.forget_at = known.forget_at.max(ending.forget_at);
    is_news
}

fn name(issuer: &str, id: &str) -> Name {
    (issuer.into(), id.into())
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("count", &self.count()).finish_non_exhaustive()
    }
}
