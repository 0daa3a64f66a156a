use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::canary::Canaries;
use super::watch::Look;

/// More than one place is told, and not all of a log.
const TOLD: usize = 32;

/// Where secrets were found by a [`LeakTest`](super::LeakTest). Shows names and places, never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a leak that nobody hears of"]
pub struct Leaks {
    pub(super) found: Vec<Leak>,
    pub(super) not_looked_at: Vec<String>,
}

/// A secret where none belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// The name of the secret.
    pub secret: String,
    /// Where it was found, for people.
    pub place: String,
}

impl Leaks {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order in which it was, up to 32 places.
    pub fn found(&self) -> &[Leak] {
        &self.found
    }

    /// What could not be looked at, and why: that nothing was found there means nothing.
    pub fn not_looked_at(&self) -> &[String] {
        &self.not_looked_at
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("no secret was found where none belongs")?;
        } else {
            f.write_str("secrets were found where none belongs:")?;
        }
        self.found.iter().try_for_each(|leak| write!(f, "\n  {leak}"))?;
        self.not_looked_at.iter().try_for_each(|what| write!(f, "\n  not looked at: {what}"))
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.secret, self.place)
    }
}

/// Of the tests that run now, by number: what is heard of a whole process may be about any of them.
static RUNNING: Mutex<Vec<(u64, Findings)>> = Mutex::new(Vec::new());

/// A test runs until this is dropped.
pub(super) struct Running(u64);

impl Running {
    pub(super) fn begin(findings: &Findings) -> Self {
        let mut running = running();
        let number = running.last().map_or(0, |(last, _)| last + 1);
        running.push((number, findings.clone()));
        Self(number)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        running().retain(|(number, _)| *number != self.0);
    }
}

pub(super) fn is_any_running() -> bool {
    !running().is_empty()
}

/// Looks for the secrets of all tests that run; answers whether there is one.
pub(super) fn look_for_all(bytes: &[u8], place: impl Fn() -> String) -> bool {
    // Nothing is locked while it is looked at.
    let running: Vec<_> = running().iter().map(|(_, findings)| findings.clone()).collect();
    // By all of them: one and the same text may have the secrets of several.
    running.iter().fold(false, |is_any, findings| findings.look(bytes, &place) | is_any)
}

fn running() -> MutexGuard<'static, Vec<(u64, Findings)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects what is found; clones collect together.
#[derive(Clone)]
pub(super) struct Findings {
    canaries: Canaries,
    found: Arc<Mutex<Vec<Leak>>>,
}

impl Findings {
    pub(super) fn of(canaries: Canaries) -> Self {
        Self { canaries, found: Arc::default() }
    }

    /// Looks for a secret in `bytes`, which are from `place`; answers whether there is one.
    pub(super) fn look(&self, bytes: &[u8], place: impl FnOnce() -> String) -> bool {
        let Some(secret) = self.canaries.find(bytes) else { return false };
        let leak = Leak { secret, place: place() };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < TOLD && !found.contains(&leak) {
            found.push(leak);
        }
        true
    }

    pub(super) fn take(&self) -> Vec<Leak> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Look for Findings {
    fn look(&self, bytes: &[u8], place: &dyn Fn() -> String) {
        Self::look(self, bytes, place);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{Ask, Name, Provider as _};

    fn canary(name: &str) -> (Findings, Vec<u8>) {
        let canaries = Canaries::default();
        let name = Name::new(name).expect("a name");
        let reading = canaries.read(Ask::current(&name)).now_or_never().expect("at once").expect("read");
        (Findings::of(canaries), reading.value().expect("a value").to_vec())
    }

    #[test]
    fn what_is_heard_is_about_the_test_whose_secret_it_is_for_as_long_as_it_runs() {
        let (first, second) = (canary("first"), canary("second"));
        let place = || "somewhere".to_owned();
        let found = |findings: &Findings| findings.take().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(!is_any_running() && !look_for_all(&first.1, place));
        let (running, other) = (Running::begin(&first.0), Running::begin(&second.0));
        assert!(look_for_all(&first.1, place) && look_for_all(&second.1, place) && !look_for_all(b"nothing", place));
        assert_eq!(
            (found(&first.0), found(&second.0)),
            (vec!["first in somewhere".into()], vec!["second in somewhere".into()])
        );
        assert!(look_for_all(&[&first.1[..], &second.1].concat(), place));
        assert_eq!((found(&first.0).len(), found(&second.0).len()), (1, 1), "what has both");
        drop(running);
        assert!(is_any_running() && !look_for_all(&first.1, place) && look_for_all(&second.1, place));
        assert_eq!((found(&first.0), found(&second.0).len()), (Vec::new(), 1));
        drop(other);
        assert!(!is_any_running());
    }
}
