//! Whether a 403 is a policy's or the end of a token, where the server does not tell: one login finds out, and then no other
//! for a while. Pure: what is decided follows from the instants that are given.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

/// The wait after a login that did not help; it doubles with each further one. The token that it replaced is left behind on
/// the server until it ends, so there must not be many.
const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(300);

/// How many paths are known to have been answered.
const PATHS: usize = 1_000;

/// What is known of the signs that a token has ended.
#[derive(Default)]
pub(super) struct Doubt {
    /// A token was able to look itself up: one that is not has ended.
    looked: bool,
    /// The server called a token bad that was new.
    is_word_broken: bool,
    /// What was answered by a token: it was allowed once.
    answered: HashSet<Box<str>>,
    /// The login that did not help last, and how many there were in a row.
    fruitless: u64,
    count: u32,
    rest: Option<Instant>,
}

/// What makes a token look as if it had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The server says so.
    Word,
    /// It may not even look itself up.
    Look,
}

impl Doubt {
    /// A token looked itself up.
    pub(super) fn looked(&mut self) {
        self.looked = true;
    }

    /// What is at `path` was answered.
    pub(super) fn answered(&mut self, path: &str) {
        if self.answered.len() < PATHS && !self.answered.contains(path) {
            self.answered.insert(path.into());
        }
    }

    /// Whether a login is worth it after a 403 at `path` with that sign.
    pub(super) fn is_worth_a_login(&self, path: &str, sign: Sign, now: Instant) -> bool {
        let is_sure = match sign {
            Sign::Word => !self.is_word_broken,
            Sign::Look => self.looked,
        };
        is_sure || self.answered.contains(path) || self.rest.is_none_or(|rest| now >= rest)
    }

    /// The login made because of it was what was needed.
    pub(super) fn helped(&mut self) {
        (self.is_word_broken, self.count, self.rest) = (false, 0, None);
    }

    /// Token number `login` was refused at `path` as well: it was the policy.
    pub(super) fn was_fruitless(&mut self, path: &str, sign: Sign, login: u64, now: Instant) {
        self.answered.remove(path);
        match sign {
            Sign::Word => self.is_word_broken = true,
            Sign::Look => self.looked = false,
        }
        // Many may have waited for the one login.
        if self.fruitless < login {
            self.fruitless = login;
            self.rest = Some(now + rest(self.count));
            self.count = self.count.saturating_add(1);
        }
    }
}

/// How long to rest after `before` and one more.
fn rest(before: u32) -> Duration {
    FIRST.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_login_that_does_not_help_makes_the_rest_longer() {
        for (before, seconds) in [(0, 10), (1, 20), (4, 160), (5, 300), (31, 300), (32, 300), (u32::MAX, 300)] {
            assert_eq!(rest(before), Duration::from_secs(seconds), "{before}");
        }
    }

    #[test]
    fn a_sign_is_believed_until_a_login_shows_that_it_was_wrong() {
        let now = Instant::now();
        for (sign, looked, at_first) in
            [(Sign::Look, false, false), (Sign::Look, true, true), (Sign::Word, false, true), (Sign::Word, true, true)]
        {
            let mut doubt = Doubt { rest: Some(now + FIRST), ..Doubt::default() };
            if looked {
                doubt.looked();
            }
            assert_eq!(doubt.is_worth_a_login("x", sign, now), at_first, "{sign:?}, looked {looked}");
            doubt.was_fruitless("x", sign, 2, now);
            assert!(!doubt.is_worth_a_login("x", sign, now), "{sign:?}, looked {looked}");
        }
    }

    #[test]
    fn a_broken_word_is_believed_again_once_a_login_helped() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        doubt.was_fruitless("x", Sign::Word, 2, now);
        doubt.helped();
        doubt.was_fruitless("x", Sign::Look, 3, now);
        assert!(doubt.is_worth_a_login("y", Sign::Word, now));
    }

    #[test]
    fn without_a_sure_sign_there_is_one_login_a_rest() {
        let start = Instant::now();
        let mut doubt = Doubt::default();
        let (mut now, mut number) = (start, 1);
        let mut logins = Vec::new();
        for _ in 0..1_000 {
            if doubt.is_worth_a_login("x", Sign::Look, now) {
                logins.push((now - start).as_secs());
                number += 1;
                // All who waited for it.
                for _ in 0..50 {
                    doubt.was_fruitless("x", Sign::Look, number, now);
                }
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(logins, [0, 10, 30, 70, 150, 310, 610, 910]);
        doubt.helped();
        assert!(doubt.is_worth_a_login("x", Sign::Look, now));
        doubt.was_fruitless("x", Sign::Look, number + 1, now);
        assert!(doubt.is_worth_a_login("x", Sign::Look, now + FIRST), "it begins anew");
    }

    #[test]
    fn what_was_answered_before_is_worth_one_login_though_others_rest() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        doubt.answered("good");
        doubt.was_fruitless("bad", Sign::Look, 2, now);
        assert!(doubt.is_worth_a_login("good", Sign::Look, now) && !doubt.is_worth_a_login("bad", Sign::Look, now));
        doubt.was_fruitless("good", Sign::Look, 3, now);
        assert!(!doubt.is_worth_a_login("good", Sign::Look, now), "it is allowed no more");
    }

    #[test]
    fn no_more_paths_are_kept_than_there_is_room_for() {
        let mut doubt = Doubt::default();
        for n in 0..2 * PATHS {
            doubt.answered(&n.to_string());
        }
        assert_eq!(doubt.answered.len(), PATHS);
    }
}
