//! The members of a use that usage is kept apart by: a small JSON object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;

/// The longest text of dimensions.
const LONGEST: usize = 4096;

/// Why dimensions are not what they must be. Says where, and never what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    TooLong(usize),
    NoObject { line: usize, column: usize },
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::TooLong(bytes) => write!(f, "{bytes} bytes, and at most {LONGEST} may be"),
            Rejected::NoObject { line, column } => write!(f, "not a JSON object, by {line}:{column}"),
        }
    }
}

/// `text`, if it is the JSON object that it must be.
pub(super) fn checked(text: String) -> Result<Box<str>, Rejected> {
    if text.len() > LONGEST {
        return Err(Rejected::TooLong(text.len()));
    }
    match serde_json::from_str::<BTreeMap<Cow<'_, str>, IgnoredAny>>(&text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(Rejected::NoObject { line: error.line(), column: error.column() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_up_to_4_kib_is_kept_as_it_is() {
        let longest = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST - 8));
        assert_eq!(longest.len(), LONGEST);
        for text in ["{}", " { \"a\": 1, \"b\\u0041\": [null] } ", &longest] {
            assert_eq!(checked(text.into()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn anything_else_is_rejected_and_its_content_is_not_told() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST));
        assert_eq!(checked(long.clone()), Err(Rejected::TooLong(long.len())));
        let deep = format!("{{\"a\":{}", "[".repeat(2000));
        for text in ["", "null", "[]", "\"secret\"", "{", "{} {}", "{\"secret\":}", "{1:2}", "secret", &deep] {
            let rejected = checked(text.into()).expect_err(text);
            assert!(
                matches!(rejected, Rejected::NoObject { .. }) && !rejected.to_string().contains("secret"),
                "{text}"
            );
        }
    }
}
