//! The life of a login token: when it is renewed, and when another one is needed. Pure: what is decided follows from the
//! instants that are given.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::fingerprint::{Fingerprint, register};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

/// What part of its time a token is used before something is done; the rest is for tries that fail.
const USED: f64 = 2.0 / 3.0;

/// That part of it at most is taken off at random, so that the processes of a fleet do not come at once.
const JITTER: f64 = 0.1;

/// A token that is granted for less than this part of what it was granted for before is about to meet its `max_ttl`.
const SHRUNK: f64 = 0.9;

/// A token as it is held now.
pub(super) struct Token {
    pub(super) value: SecretString,
    /// Counts logins, from 1; a renewal does not count.
    pub(super) number: u64,
    /// It was given and not logged in for: nobody here can get another one.
    pub(super) is_given: bool,
    life: Option<Life>,
    /// The leak firewall knows it for as long as anybody has it.
    known: Arc<Fingerprint>,
}

/// Of a token that ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) ttl: Duration,
    pub(super) is_renewable: bool,
    /// Since when it may run: when it was asked for.
    pub(super) granted: Instant,
}

/// What is to be done about a token, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Renew(Instant),
    /// It cannot be renewed, or not for long.
    Replace(Instant),
    /// It never ends, or nothing can be done about it.
    Nothing,
}

impl Token {
    pub(super) fn new(value: SecretString, number: u64, is_given: bool, life: Option<Life>) -> Self {
        let known = Arc::new(register(value.expose_secret().as_bytes()));
        Self { value, number, is_given, life, known }
    }

    /// The same, renewed. A `max_ttl` that is near shows by a grant that is shorter than the one before.
    pub(super) fn renewed(&self, granted: Life) -> Self {
        let shrunk = self.life.is_some_and(|life| granted.ttl < life.ttl.mul_f64(SHRUNK));
        let life = Life { is_renewable: granted.is_renewable && !shrunk, ..granted };
        Self { value: self.value.clone(), life: Some(life), known: self.known.clone(), ..*self }
    }

    /// What to do next; `random` is in 0..1.
    pub(super) fn next(&self, random: f64) -> Next {
        let Some(life) = self.life else { return Next::Nothing };
        let due = life.granted + life.ttl.mul_f64(USED * (1.0 - JITTER * random));
        match (life.is_renewable, self.is_given) {
            (true, _) => Next::Renew(due),
            (false, false) => Next::Replace(due),
            (false, true) => Next::Nothing,
        }
    }

    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.left(now).is_some_and(|left| left.is_zero())
    }

    /// How long it lasts unless it is renewed; `None` if it never ends.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let life = self.life?;
        Some((life.granted + life.ttl).saturating_duration_since(now))
    }

    pub(super) fn is_renewable(&self) -> bool {
        self.life.is_some_and(|life| life.is_renewable)
    }

    /// Whether a tenth of its time is over.
    pub(super) fn is_used(&self, now: Instant) -> bool {
        self.life.is_some_and(|life| now.saturating_duration_since(life.granted) > life.ttl / 10)
    }

    /// Whether it is too near its end to borrow with: what is lent ends with it.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let half = |life: Life| now.saturating_duration_since(life.granted) > life.ttl / 2;
        !self.is_given && self.life.is_some_and(|life| !life.is_renewable && half(life))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("number", &self.number)
            .field("is_given", &self.is_given)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::fingerprint::{REDACTED, REMEMBERED, mask};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn life(granted: Instant, ttl: Duration, is_renewable: bool) -> Life {
        Life { ttl, is_renewable, granted }
    }

    fn token(is_given: bool, life: Option<Life>) -> Token {
        Token::new("s.hunter2".into(), 1, is_given, life)
    }

    #[test]
    fn what_is_due_follows_from_who_made_it_and_what_it_can() {
        let now = Instant::now();
        let due = now + MINUTE.mul_f64(USED);
        for (is_given, is_renewable, next) in [
            (false, true, Next::Renew(due)),
            (true, true, Next::Renew(due)),
            (false, false, Next::Replace(due)),
            (true, false, Next::Nothing),
        ] {
            let token = token(is_given, Some(life(now, MINUTE, is_renewable)));
            assert_eq!(token.next(0.0), next, "given {is_given}, renewable {is_renewable}");
        }
        assert_eq!(token(true, None).next(0.0), Next::Nothing);
    }

    #[test]
    fn jitter_comes_before_two_thirds_and_takes_a_tenth_of_them() {
        let now = Instant::now();
        let token = token(false, Some(life(now, MINUTE, true)));
        let Next::Renew(late) = token.next(0.0) else { panic!("renewable") };
        let Next::Renew(early) = token.next(1.0) else { panic!("renewable") };
        assert_eq!(late - now, Duration::from_secs(40));
        assert_eq!(early - now, Duration::from_secs(36));
    }

    #[test]
    fn a_grant_that_shrinks_is_the_last_one() {
        let start = Instant::now();
        let first = token(false, Some(life(start, MINUTE, true)));
        for (ttl, is_last) in [(60, false), (55, false), (53, true), (10, true), (120, false)] {
            let asked = start + MINUTE / 2;
            let renewed = first.renewed(life(asked, Duration::from_secs(ttl), true));
            assert_eq!(matches!(renewed.next(0.0), Next::Replace(_)), is_last, "{ttl} s");
            assert_eq!(renewed.left(asked), Some(Duration::from_secs(ttl)));
            assert_eq!(renewed.number, 1);
        }
    }

    #[test]
    fn it_ends_when_its_time_is_over_and_not_at_all_without_one() {
        let now = Instant::now();
        let ending = token(false, Some(life(now, MINUTE, false)));
        assert!(!ending.has_ended(now + MINUTE - Duration::from_millis(1)));
        assert!(ending.has_ended(now + MINUTE));
        let endless = token(true, None);
        assert!(!endless.has_ended(now + MINUTE * 1_000_000) && endless.left(now).is_none());
    }

    #[test]
    fn who_borrows_does_so_with_a_token_that_has_time_left() {
        let now = Instant::now();
        let soon = now + MINUTE.mul_f64(0.6);
        for (is_given, is_renewable, at, is_spent) in [
            (false, false, soon, true),
            (false, false, now, false),
            (false, true, soon, false),
            (true, false, soon, false),
        ] {
            let token = token(is_given, Some(life(now, MINUTE, is_renewable)));
            assert_eq!(token.is_spent(at), is_spent, "given {is_given}, renewable {is_renewable}");
        }
    }

    #[test]
    fn one_that_is_renewed_is_still_masked() {
        let given = Life { ttl: MINUTE, is_renewable: true, granted: Instant::now() };
        let renewed = Token::new("hvs.token-to-renew".into(), 1, false, Some(given)).renewed(given);
        for n in 0..=REMEMBERED {
            drop(register(format!("one of many tokens: {n}").as_bytes()));
        }
        assert_eq!(mask(renewed.value.expose_secret()), REDACTED);
    }

    #[test]
    fn it_does_not_show_itself() {
        let shown = format!("{:?}", token(false, Some(life(Instant::now(), MINUTE, true))));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
