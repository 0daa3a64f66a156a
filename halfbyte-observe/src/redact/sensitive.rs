use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown in place of a [`Sensitive`] value.
const SHOWN: &str = "[redacted]";

/// A value that nothing shows by accident: `Debug`, `Display` and `Serialize` all give `[redacted]`.
///
/// It is for what is logged or traced as part of something larger; a credential that is kept belongs into
/// `secrecy::SecretString`, which also wipes its memory. It is read from what a client sends like the value itself.
///
/// ```
/// use halfbyte_observe::Sensitive;
///
/// #[derive(Debug)]
/// struct Patient { id: u32, diagnosis: Sensitive<String> }
///
/// let patient = Patient { id: 7, diagnosis: Sensitive::new("flu".to_owned()) };
/// assert_eq!(format!("{patient:?}"), "Patient { id: 7, diagnosis: [redacted] }");
/// assert_eq!(patient.diagnosis.expose(), "flu");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. What is done with it is no longer guarded.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, out of its wrapper.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(SHOWN)
    }
}

impl<T> Serialize for Sensitive<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sensitive<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_what_is_sensitive() {
        let value = Sensitive::new("hunter2");
        assert_eq!(format!("{value} {value:?} {value:#?}"), "[redacted] [redacted] [redacted]");
        assert_eq!(serde_json::to_string(&value).unwrap(), "\"[redacted]\"");
        assert_eq!((*value.expose(), value.into_exposed()), ("hunter2", "hunter2"));
    }

    #[test]
    fn what_is_sensitive_is_read_like_the_value_itself() {
        let read: Sensitive<Vec<u8>> = serde_json::from_str("[1,2]").unwrap();
        assert_eq!(read.expose(), &[1, 2]);
    }
}
