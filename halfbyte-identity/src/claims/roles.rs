//! Roles and organizations where they are not a plain list: in the tokens of Keycloak and Zitadel.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::form::{MAX_ENTRIES, MAX_NAME, Strings, next_name};
use crate::jose::{Names, Unique};

/// `{"roles": [...]}`, as Keycloak lists the roles of a realm and of a client: adds them.
pub(super) struct RolesOf<'c, 'de>(pub(super) &'c mut Vec<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for RolesOf<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RolesOf<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of roles")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = next_name(&mut entries, &mut names)? {
            match &*name {
                "roles" => entries.next_value_seed(Strings(self.0))?,
                _ => entries.next_value().map(|Unique| ())?,
            }
        }
        Ok(())
    }
}

/// Keycloak's `resource_access`: adds the roles of one client, and of no other.
pub(super) struct RolesAt<'c, 'de> {
    pub(super) client: &'c str,
    pub(super) roles: &'c mut Vec<Cow<'de, str>>,
}

impl<'de> DeserializeSeed<'de> for RolesAt<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RolesAt<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of clients")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = next_name(&mut entries, &mut names)? {
            if name == self.client {
                entries.next_value_seed(RolesOf(self.roles))?;
            } else {
                entries.next_value().map(|Unique| ())?;
            }
        }
        Ok(())
    }
}

/// A role of Zitadel and the ids of the organizations in which it was granted.
pub(super) struct ProjectRole<'de> {
    pub(super) role: Cow<'de, str>,
    pub(super) organizations: Vec<Cow<'de, str>>,
}

/// `{"ROLE": {"ORGANIZATION": "domain"}}`, or a list of such objects.
pub(super) struct ProjectRoles<'c, 'de>(pub(super) &'c mut Vec<ProjectRole<'de>>);

impl<'de> DeserializeSeed<'de> for ProjectRoles<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ProjectRoles<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of roles")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(ProjectRolesObject(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        ProjectRolesObject(self.0).deserialize(MapAccessDeserializer::new(entries))
    }
}

/// One such object: a list in a list is none.
struct ProjectRolesObject<'c, 'de>(&'c mut Vec<ProjectRole<'de>>);

impl<'de> DeserializeSeed<'de> for ProjectRolesObject<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ProjectRolesObject<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of roles")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(role) = next_name(&mut entries, &mut names)? {
            if self.0.len() == MAX_ENTRIES || role.len() > MAX_NAME {
                return Err(A::Error::custom("too many or too long roles"));
            }
            let mut organizations = Vec::new();
            entries.next_value_seed(Keys(&mut organizations))?;
            self.0.push(ProjectRole { role, organizations });
        }
        Ok(())
    }
}

/// The names of an object, or the strings of a list, or one string.
pub(super) struct Keys<'c, 'de>(pub(super) &'c mut Vec<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for Keys<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a list of strings or a string")
    }

    fn visit_borrowed_str<E>(self, one: &'de str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(one));
        Ok(())
    }

    fn visit_str<E>(self, one: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(one.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        Strings(self.0).visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = next_name(&mut entries, &mut names)? {
            if self.0.len() == MAX_ENTRIES {
                return Err(A::Error::custom("too many names"));
            }
            self.0.push(name);
            entries.next_value().map(|Unique| ())?;
        }
        Ok(())
    }
}
