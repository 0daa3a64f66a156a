use serde_json::Value;

use super::{Algorithm, Error, ErrorKind, parse_object};

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

const MAX_KEY_ID: usize = 256;

/// Members by which a token brings a key along or names one elsewhere. Such a key is anybody's.
const BROUGHT_ALONG: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

impl Header {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Error> {
        let object = parse_object(json)?;
        if object.contains_key("crit") || object.contains_key("b64") {
            return Err(ErrorKind::NotAllowed.because("the header asks for an extension"));
        }
        if object.contains_key("enc") || object.contains_key("zip") {
            return Err(ErrorKind::NotAllowed.because("encrypted tokens are not read"));
        }
        if BROUGHT_ALONG.iter().any(|member| object.contains_key(*member)) {
            return Err(ErrorKind::NotAllowed.because("the header brings a key along"));
        }
        if object.get("cty").is_some_and(|cty| cty.as_str().is_none_or(|cty| cty.eq_ignore_ascii_case("jwt"))) {
            return Err(ErrorKind::NotAllowed.because("nested tokens are not read"));
        }
        let algorithm = text(object.get("alg"))?.ok_or(ErrorKind::Malformed.because("no algorithm"))?;
        let algorithm =
            Algorithm::from_name(algorithm).ok_or(ErrorKind::NotAllowed.because("not an algorithm of ours"))?;
        let key_id = text(object.get("kid"))?;
        if key_id.is_some_and(|id| id.len() > MAX_KEY_ID) {
            return Err(ErrorKind::Malformed.because("the key id is too long"));
        }
        let media_type = text(object.get("typ"))?.map(|typ| {
            let lower = typ.to_ascii_lowercase();
            lower.strip_prefix("application/").unwrap_or(&lower).into()
        });
        Ok(Self { algorithm, key_id: key_id.map(Into::into), media_type })
    }
}

fn text(member: Option<&Value>) -> Result<Option<&str>, Error> {
    match member {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ErrorKind::Malformed.because("a header member is not a string")),
    }
}
