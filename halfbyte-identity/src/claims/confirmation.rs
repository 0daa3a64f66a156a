//! What a token is bound to.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::form::{Loose, LooseForm, next_name};
use crate::binding::Binding;
use crate::jose::{Names, Unique};

/// `cnf` (RFC 7800).
#[derive(Debug, Default, PartialEq)]
pub(super) enum Confirmation {
    #[default]
    None,
    /// To one key or certificate, for which a proof can be asked.
    To(Binding),
    /// To something else or to more than one thing: no proof of it can be checked here.
    Unknown,
}

/// Reads `cnf`, which may be of any form.
pub(super) struct ConfirmationForm;

impl<'de> DeserializeSeed<'de> for ConfirmationForm {
    type Value = Confirmation;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Confirmation, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ConfirmationForm {
    type Value = Confirmation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Confirmation, A::Error> {
        let mut names = Names::default();
        let mut found = Confirmation::None;
        while let Some(name) = next_name(&mut entries, &mut names)? {
            let value = entries.next_value_seed(LooseForm)?;
            found = match (found, digest(&value), &*name) {
                (Confirmation::None, Some(digest), "jkt") => Confirmation::To(Binding::Key(digest)),
                (Confirmation::None, Some(digest), "x5t#S256") => Confirmation::To(Binding::Certificate(digest)),
                _ => Confirmation::Unknown,
            };
        }
        Ok(if found == Confirmation::None { Confirmation::Unknown } else { found })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Confirmation, A::Error> {
        Unique::deserialize(SeqAccessDeserializer::new(items)).map(|Unique| Confirmation::Unknown)
    }

    fn visit_str<E>(self, _: &str) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }

    fn visit_unit<E>(self) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Confirmation, E> {
        Ok(Confirmation::Unknown)
    }
}

/// A SHA-256 digest in base64url, in its one canonical spelling.
fn digest(value: &Loose<'_>) -> Option<[u8; 32]> {
    let text = value.as_str().filter(|text| text.len() == 43)?;
    // The decoder wants room for whole groups of three.
    let mut room = [0; 33];
    let filled = URL_SAFE_NO_PAD.decode_slice(text, &mut room).ok()?;
    room[..filled].try_into().ok()
}
