use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{Algorithm, Error, ErrorKind, MAX_KEY_ID, Name, Names, Unique};

/// The protected header of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// Which key signed it.
    pub key_id: Option<Box<str>>,
    /// What kind of token it is: `typ` in lower case, without `application/`.
    pub media_type: Option<Box<str>>,
}

impl Header {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Error> {
        let members: Members<'_> = serde_json::from_slice(json)
            .map_err(|_| ErrorKind::Malformed.because("the header is no object of unique names and fitting values"))?;
        if let Some(reason) = members.refused {
            return Err(ErrorKind::NotAllowed.because(reason));
        }
        let algorithm = members.alg.ok_or(ErrorKind::Malformed.because("no algorithm"))?;
        let algorithm =
            Algorithm::from_name(&algorithm).ok_or(ErrorKind::NotAllowed.because("not an algorithm of ours"))?;
        if members.kid.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_KEY_ID) {
            return Err(ErrorKind::Malformed.because("the key id is empty or too long"));
        }
        Ok(Self {
            algorithm,
            key_id: members.kid.map(|id| Box::from(&*id)),
            media_type: members.typ.map(|typ| {
                let mut short = Box::from(without_application(&typ));
                str::make_ascii_lowercase(&mut short);
                short
            }),
        })
    }
}

/// A media type as RFC 7515, 4.1.9, has it written.
fn without_application(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

/// What is taken from a header while it is read once, from end to end.
#[derive(Default)]
struct Members<'de> {
    alg: Option<Cow<'de, str>>,
    kid: Option<Cow<'de, str>>,
    typ: Option<Cow<'de, str>>,
    refused: Option<&'static str>,
}

/// Why a token with such a member is refused.
fn refusal(member: &str) -> Option<&'static str> {
    match member {
        // No extension is implemented, so that any that must be understood (RFC 7515, 4.1.11) is one too many.
        "crit" | "b64" => Some("the header asks for an extension"),
        "enc" | "zip" => Some("encrypted tokens are not read"),
        // Such a key is anybody's.
        "jwk" | "jku" | "x5u" | "x5c" => Some("the header brings a key along"),
        _ => None,
    }
}

/// Whether the payload is said to be a token in turn.
fn is_nested(cty: &str) -> bool {
    let content = without_application(cty).to_ascii_lowercase();
    matches!(&*content, "jwt" | "jose" | "jose+json") || content.ends_with("+jwt")
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a protected header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        // Those that nearly every token has need no list: that they are there already is enough.
        let mut others = Names::default();
        while let Some(Name(name)) = entries.next_key()? {
            let is_new = match &*name {
                "alg" => members.alg.replace(text(&mut entries)?).is_none(),
                "kid" => members.kid.replace(text(&mut entries)?).is_none(),
                "typ" => members.typ.replace(text(&mut entries)?).is_none(),
                other => {
                    match other {
                        "cty" => {
                            if is_nested(&text(&mut entries)?) {
                                members.refused = Some("nested tokens are not read");
                            }
                        }
                        // Strings by RFC 7515 and RFC 8555: not used, but what is wrong is refused.
                        "x5t" | "x5t#S256" | "nonce" | "url" => drop(text(&mut entries)?),
                        _ => {
                            let Unique = entries.next_value()?;
                            members.refused = members.refused.or(refusal(other));
                        }
                    }
                    others.insert(name)
                }
            };
            if !is_new {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(members)
    }
}

fn text<'de, A: MapAccess<'de>>(entries: &mut A) -> Result<Cow<'de, str>, A::Error> {
    entries.next_value().map(|Name(text)| text)
}
