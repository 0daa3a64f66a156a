use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::jwk::is_key_id;
use super::{Error, ErrorKind, Header, Jwk, Name, Names, Unique, parse_object};

/// The keys of an issuer. One that cannot be used does not lose the others.
#[derive(Debug, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    rejected: Vec<RejectedJwk>,
}

/// A key that was left out of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedJwk {
    /// Its id, if it has one that can be read.
    pub key_id: Option<Box<str>>,
    /// Why.
    pub reason: &'static str,
}

/// The most keys that are read of one set; an issuer has a handful.
pub(crate) const MAX_KEYS: usize = 64;

impl JwkSet {
    /// Reads a JWK set. Each key is read by itself, strictly: those that cannot be used here are left out and listed in
    /// [`rejected`](Self::rejected). Symmetric keys are never among those that can.
    ///
    /// Where two keys have one id and one algorithm, the first counts and the other is left out: an issuer that does so is
    /// at fault, and a signature is never tried with one key after the other.
    ///
    /// # Errors
    ///
    /// It is not a JWK set, or has more than 64 keys: more than an issuer has any use for.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let RawKeys(members) =
            serde_json::from_slice(json).map_err(|_| ErrorKind::Malformed.because("not a set of at most 64 keys"))?;
        let mut set = Self::default();
        for member in members {
            let Ok(object) = parse_object(member.get().as_bytes()) else {
                set.rejected.push(RejectedJwk { key_id: None, reason: "not an object with unique names" });
                continue;
            };
            match Jwk::from_object(&object) {
                Ok(key) => set.add(key),
                Err(reason) => {
                    let key_id = object.get("kid").and_then(Value::as_str).filter(|id| is_key_id(id));
                    set.rejected.push(RejectedJwk { key_id: key_id.map(Box::from), reason });
                }
            }
        }
        Ok(set)
    }

    /// The keys that were left out.
    pub fn rejected(&self) -> &[RejectedJwk] {
        &self.rejected
    }

    /// The keys that can be used.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    fn add(&mut self, key: Jwk) {
        let is_taken = |id| self.keys.iter().any(|other| other.algorithm() == key.algorithm() && other.is_named(id));
        if key.key_id().is_some_and(is_taken) {
            let reason = "an earlier key has its id and algorithm";
            self.rejected.push(RejectedJwk { key_id: key.key_id().map(Box::from), reason });
        } else {
            self.keys.push(key);
        }
    }

    /// The key that `header` names. A token without `kid` is accepted only where there is no choice.
    pub(super) fn find(&self, header: &Header) -> Result<&Jwk, Error> {
        let unknown = ErrorKind::UnknownKey.because("no such key");
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == header.algorithm);
        let Some(id) = &header.key_id else {
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                _ => Err(unknown),
            };
        };
        fitting.find(|key| key.is_named(id)).ok_or_else(|| {
            if self.keys.iter().any(|key| key.is_named(id)) {
                ErrorKind::NotAllowed.because("the algorithm is not the key's")
            } else {
                unknown
            }
        })
    }
}

/// Keys that were configured, in their order of precedence: of two with one id and one algorithm the first counts.
impl FromIterator<Jwk> for JwkSet {
    fn from_iter<I: IntoIterator<Item = Jwk>>(keys: I) -> Self {
        let mut set = Self::default();
        keys.into_iter().for_each(|key| set.add(key));
        set
    }
}

/// The members of `keys`, each still as text: what is wrong with one is then no matter of the others.
struct RawKeys<'de>(Vec<&'de RawValue>);

impl<'de> Deserialize<'de> for RawKeys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SetVisitor)
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = RawKeys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawKeys<'de>, A::Error> {
        let mut keys = None;
        let mut names = Names::default();
        while let Some(Name(name)) = entries.next_key()? {
            if name == "keys" {
                let Members(members) = entries.next_value()?;
                keys = Some(members);
            } else {
                let Unique = entries.next_value()?;
            }
            if !names.insert(name) {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        keys.map(RawKeys).ok_or_else(|| A::Error::missing_field("keys"))
    }
}

struct Members<'de>(Vec<&'de RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = items.next_element()? {
            if members.len() == MAX_KEYS {
                return Err(A::Error::custom("too many keys"));
            }
            members.push(member);
        }
        Ok(Members(members))
    }
}
