use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::slice;

/// What has a name to be found by.
pub trait Recorded: fmt::Debug {
    /// What one of them is called in a message.
    const WHAT: &'static str;

    /// The name of a span or a metric, the message of a log record.
    fn called(&self) -> &str;
}

/// All that there is of one signal, in the order of arrival: a slice that can also be asked for the one that a test is
/// about. When that is not there, the panic lists those that are.
#[derive(Clone, Debug, PartialEq)]
pub struct All<T>(pub(super) Vec<T>);

impl<T: Recorded> All<T> {
    /// The only one.
    ///
    /// # Panics
    ///
    /// There is none, or more than one.
    #[track_caller]
    pub fn only(self) -> T {
        self.one("")
    }

    /// The only one with this name; of log records, with this message.
    ///
    /// # Panics
    ///
    /// There is none, or more than one.
    #[track_caller]
    pub fn named(self, name: &str) -> T {
        let (named, others) = self.0.into_iter().partition(|one: &T| one.called() == name);
        one_of(named, others, &format!(" named {name:?}"))
    }

    /// The only one for which `is_it` says so.
    ///
    /// # Panics
    ///
    /// There is none, or more than one.
    #[track_caller]
    pub fn find(self, is_it: impl FnMut(&T) -> bool) -> T {
        let (found, others) = self.0.into_iter().partition(is_it);
        one_of(found, others, " such as asked for")
    }

    /// Those for which `keep` says so.
    #[must_use]
    pub fn filtered(mut self, keep: impl FnMut(&T) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Their names; of log records, their messages.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(Recorded::called).collect()
    }

    #[track_caller]
    fn one(self, which: &str) -> T {
        one_of(self.0, Vec::new(), which)
    }
}

#[track_caller]
fn one_of<T: Recorded>(mut found: Vec<T>, others: Vec<T>, which: &str) -> T {
    /// More of them say no more, and take the message off the screen.
    const SHOWN: usize = 20;
    if found.len() == 1
        && let Some(one) = found.pop()
    {
        return one;
    }
    let mut message = format!("expected one {}{which}, and there are {}", T::WHAT, found.len());
    for (title, list) in [("", &found), (" besides", &others)] {
        if list.is_empty() {
            continue;
        }
        let _infallible = write!(message, "\n{}s{title}:", T::WHAT);
        for one in list.iter().take(SHOWN) {
            let _infallible = write!(message, "\n- {:?}: {one:?}", one.called());
        }
        if list.len() > SHOWN {
            let _infallible = write!(message, "\n- and {} more", list.len() - SHOWN);
        }
    }
    panic!("{message}")
}

impl<T> Deref for All<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for All<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a All<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    impl Recorded for &'static str {
        const WHAT: &'static str = "word";

        fn called(&self) -> &str {
            self
        }
    }

    fn complaint(of: impl FnOnce() -> &'static str + std::panic::UnwindSafe) -> String {
        *catch_unwind(of).expect_err("it complains").downcast::<String>().expect("a text")
    }

    #[test]
    fn the_one_that_is_there_is_found() {
        assert_eq!(All(vec!["a"]).only(), "a");
        assert_eq!(All(vec!["a", "b"]).named("b"), "b");
        assert_eq!(All(vec!["a", "b"]).find(|word| *word > "a"), "b");
    }

    #[test]
    fn a_complaint_says_what_is_there_instead() {
        let missing = complaint(|| All(vec!["a", "b"]).named("c"));
        assert_eq!(
            missing,
            "expected one word named \"c\", and there are 0\nwords besides:\n- \"a\": \"a\"\n- \"b\": \"b\""
        );
        let twice = complaint(|| All(vec!["a", "a", "b"]).named("a"));
        assert!(twice.starts_with("expected one word named \"a\", and there are 2\nwords:\n- \"a\""), "{twice}");
        assert!(twice.ends_with("\nwords besides:\n- \"b\": \"b\""), "{twice}");
        assert_eq!(complaint(|| All(Vec::<&str>::new()).only()), "expected one word, and there are 0");
        assert!(complaint(|| All(vec!["a"; 25]).only()).ends_with("- and 5 more"));
    }
}
