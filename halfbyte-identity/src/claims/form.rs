//! The simple forms that claims have: a string, a time, a list. Each reads itself without a copy where it can.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::jose::{Name, Names, Unique};

/// The most roles, scopes or means of signing in that one token may list.
pub(super) const MAX_ENTRIES: usize = 256;

/// The longest name of a role, a scope, a client, a session and the like, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// The longest `sub`, and the longest `sub` and `iss` of an actor, in bytes.
pub(super) const MAX_SUBJECT: usize = 512;

/// The next name of an object, if it has not stood there before.
pub(super) fn next_name<'de, A: MapAccess<'de>>(
    entries: &mut A,
    names: &mut Names<'de>,
) -> Result<Option<Cow<'de, str>>, A::Error> {
    let Some(Name(name)) = entries.next_key()? else { return Ok(None) };
    if names.insert(name.clone()) { Ok(Some(name)) } else { Err(A::Error::custom("a name stands twice")) }
}

/// A string.
pub(super) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Seconds since 1970: a number and not text. A fraction is cut off.
pub(super) struct Seconds;

impl<'de> DeserializeSeed<'de> for Seconds {
    type Value = Timestamp;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Timestamp, D::Error> {
        deserializer.deserialize_i64(self)
    }
}

impl Visitor<'_> for Seconds {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970 as a number")
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Timestamp, E> {
        Timestamp::from_second(seconds).map_err(|_| E::custom("a time that is out of range"))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Timestamp, E> {
        self.visit_i64(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Timestamp, E> {
        // A cast saturates, and both ends are out of range.
        #[expect(clippy::cast_possible_truncation, reason = "cutting the fraction off is what is wanted")]
        self.visit_i64(seconds as i64)
    }
}

/// Whether `aud`, a string or a list of strings, names this audience.
pub(super) struct Audience<'a>(pub(super) &'a str);

impl<'de> DeserializeSeed<'de> for Audience<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Audience<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, one: &str) -> Result<bool, E> {
        Ok(one == self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut named = false;
        while let Some(one) = items.next_element_seed(Text)? {
            named |= one == self.0;
        }
        Ok(named)
    }
}

/// A list of strings, which are added to those that are there already.
pub(super) struct Strings<'c, 'de>(pub(super) &'c mut Vec<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for Strings<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Strings<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(text) = items.next_element_seed(Text)? {
            if self.0.len() == MAX_ENTRIES || text.len() > MAX_NAME {
                return Err(A::Error::custom("a list with too many or too long entries"));
            }
            self.0.push(text);
        }
        Ok(())
    }
}

/// Granted scopes, as they came.
#[derive(Default)]
pub(super) enum Scopes<'de> {
    #[default]
    None,
    /// Separated by spaces (RFC 6749, 3.3).
    Text(Cow<'de, str>),
    List(Vec<Cow<'de, str>>),
}

impl Scopes<'_> {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let (text, list) = match self {
            Self::None => ("", &[][..]),
            Self::Text(text) => (&**text, &[][..]),
            Self::List(list) => ("", &list[..]),
        };
        text.split(' ').filter(|scope| !scope.is_empty()).chain(list.iter().map(|scope| &**scope))
    }

    /// Whether there are few enough, short enough, and each is one.
    pub(super) fn are_bounded(&self) -> bool {
        match self {
            // No text this short has too many or too long ones.
            Self::Text(text) if text.len() <= MAX_NAME => true,
            Self::None => true,
            Self::Text(_) => {
                self.iter().all(|scope| scope.len() <= MAX_NAME)
                    && self.iter().take(MAX_ENTRIES + 1).count() <= MAX_ENTRIES
            }
            // A space would make two of one later on.
            Self::List(list) => list.iter().all(|scope| !scope.is_empty() && !scope.contains(' ')),
        }
    }
}

/// Scopes as one string (Entra) or as a list (Okta).
pub(super) struct ScopesForm;

impl<'de> DeserializeSeed<'de> for ScopesForm {
    type Value = Scopes<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScopesForm {
    type Value = Scopes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Text.visit_borrowed_str(text).map(Scopes::Text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Text.visit_str(text).map(Scopes::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        Strings(&mut list).visit_seq(items)?;
        Ok(Scopes::List(list))
    }
}

/// A claim of any form, of which only a string or `true` says something.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Loose<'de> {
    #[default]
    Absent,
    Text(Cow<'de, str>),
    True,
    Other,
}

impl Loose<'_> {
    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::True)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a [`Loose`] one.
pub(super) struct LooseForm;

impl<'de> DeserializeSeed<'de> for LooseForm {
    type Value = Loose<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LooseForm {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique names")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Text.visit_borrowed_str(text).map(Loose::Text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Text.visit_str(text).map(Loose::Text)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
        Ok(if yes { Loose::True } else { Loose::Other })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Unique::deserialize(SeqAccessDeserializer::new(items)).map(|Unique| Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Unique::deserialize(MapAccessDeserializer::new(entries)).map(|Unique| Loose::Other)
    }
}
