use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind};

/// The name of a secret: 1 to 128 of `A-Z a-z 0-9 . _ -`, not starting with a dot. So it is a file name that stays in its
/// folder, a Kubernetes key, and safe in a log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`]; the message does not repeat it, since it may be a value in the wrong place.
    pub fn new(name: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=128).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.') {
            Ok(Self(name.into()))
        } else {
            let rule = "a secret's name is 1 to 128 of A-Z a-z 0-9 . _ - and does not start with a dot";
            Err(Error::new(ErrorKind::InvalidName, rule))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder_and_in_its_line() {
        let longest = "x".repeat(128);
        for good in ["db-password", "A.b_C-9", "9", longest.as_str()] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
        let too_long = "x".repeat(129);
        for bad in ["", ".", "..", "..data", ".x", "a/b", "../a", "a b", "a\n", "a\0", "é", "a\\b", too_long.as_str()]
        {
            let error = Name::new(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn a_value_in_place_of_a_name_is_not_repeated() {
        let error = Name::new("correct horse battery staple").expect_err("spaces");
        assert!(!format!("{error} {error:?}").contains("horse"));
    }
}
