//! Who acts for the subject.

use std::fmt;

use halfbyte_core::Actor;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::form::{MAX_SUBJECT, Text, next_name};
use crate::jose::{Names, Unique};

/// How many may act one for the other.
const MAX_ACTORS: usize = 8;

/// `act` (RFC 8693, 4.1): adds the one who acts, then those before him.
pub(super) struct ActorForm<'c>(pub(super) &'c mut Vec<Actor>);

impl<'de> DeserializeSeed<'de> for ActorForm<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ActorForm<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an actor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self(actors) = self;
        let place = actors.len();
        if place == MAX_ACTORS {
            return Err(A::Error::custom("too many actors"));
        }
        actors.push(Actor::new(""));
        let mut names = Names::default();
        while let Some(name) = next_name(&mut entries, &mut names)? {
            match &*name {
                "sub" => actors[place].subject = bounded(&entries.next_value_seed(Text)?)?,
                "iss" => actors[place].issuer = Some(bounded(&entries.next_value_seed(Text)?)?),
                "act" => entries.next_value_seed(ActorForm(actors))?,
                _ => entries.next_value().map(|Unique| ())?,
            }
        }
        if actors[place].subject.is_empty() {
            return Err(A::Error::custom("an actor without a subject"));
        }
        Ok(())
    }
}

fn bounded<E: Error>(text: &str) -> Result<Box<str>, E> {
    if (1..=MAX_SUBJECT).contains(&text.len()) { Ok(text.into()) } else { Err(E::custom("an empty or too long name")) }
}
