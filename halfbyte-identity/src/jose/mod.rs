//! Verification of signed tokens (JWS compact serialization, RFC 7515) with keys of a JWK set (RFC 7517), and nothing more:
//! no signing, no encryption, no key that a token brings along.

mod algorithm;
mod error;
mod header;
mod jwk;
mod strict;

pub use self::algorithm::Algorithm;
pub use self::error::{Error, ErrorKind};
pub use self::header::Header;
pub(crate) use self::jwk::MAX_KEYS;
pub use self::jwk::{Jwk, JwkSet, RejectedJwk};
pub(crate) use self::strict::{Name, Names, Unique};
pub use self::strict::{Object, parse_object};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A token whose signature was verified.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The protected header.
    pub header: Header,
    /// The payload, as the bytes that were signed.
    pub payload: Vec<u8>,
}

/// Verifies `token` with the one key of `keys` that its header names, by one of `allowed` algorithms.
///
/// A key has exactly one algorithm, so that the token cannot choose. The claims are not looked at: that the signature is
/// good says nothing yet about whom the token is for.
///
/// # Errors
///
/// [`ErrorKind::UnknownKey`] when no key fits, so that the caller may refresh them; any other kind is final.
pub fn verify(token: &str, keys: &JwkSet, allowed: &[Algorithm]) -> Result<Verified, Error> {
    let Parts { header, signed, payload, signature } = Parts::of(token)?;
    if !allowed.contains(&header.algorithm) {
        return Err(ErrorKind::NotAllowed.because("the algorithm is not allowed here"));
    }
    let key = keys.find(&header)?;
    let signature = decode(signature)?;
    key.verify(signed.as_bytes(), &signature)?;
    Ok(Verified { header, payload: decode(payload)? })
}

/// The header and the claims of a token whose signature nobody has looked at: anybody could have written them.
pub(crate) fn unverified(token: &str) -> Result<(Header, Object), Error> {
    let parts = Parts::of(token)?;
    Ok((parts.header, parse_object(&decode(parts.payload)?)?))
}

struct Parts<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Error> {
        let not_three = ErrorKind::Malformed.because("not three parts");
        if token.len() > MAX_TOKEN {
            return Err(ErrorKind::Malformed.because("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(not_three)?;
        let (header, payload) = signed.split_once('.').ok_or(not_three)?;
        if payload.contains('.') {
            return Err(not_three);
        }
        Ok(Self { header: Header::parse(&decode(header)?)?, signed, payload, signature })
    }
}

/// Base64url as RFC 7515 has it: no padding, no white space, and no second spelling of the same bytes.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| ErrorKind::Malformed.because("not canonical base64url"))
}
