use super::base64url::{Buffer, decode};
use super::{Algorithm, Error, ErrorKind, Header, Jwk, JwkSet, MAX_TOKEN};

/// The longest signature that any key makes, in characters: that of an RSA key of 8192 bits.
const MAX_SIGNATURE: usize = (8192_usize / 8 * 4).div_ceil(3);

/// A token that was taken apart. Until [`check`](Self::check) has said yes, anybody could have written it.
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Reads the JWS compact serialization (RFC 7515, 7.1).
    pub(crate) fn parse(token: &'a str) -> Result<Self, Error> {
        let not_three = ErrorKind::Malformed.because("not three parts");
        if token.len() > MAX_TOKEN {
            return Err(ErrorKind::Malformed.because("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(not_three)?;
        let (header, payload) = signed.split_once('.').ok_or(not_three)?;
        if payload.contains('.') {
            return Err(not_three);
        }
        let header = Header::parse(Buffer::<512>::new().decode(header)?)?;
        Ok(Self { header, payload: decode(payload)?, signed, signature })
    }

    /// The one key of `keys` that its header names, if it is signed with it by one of `allowed` algorithms.
    pub(crate) fn check<'k>(&self, keys: &'k JwkSet, allowed: &[Algorithm]) -> Result<&'k Jwk, Error> {
        if !allowed.contains(&self.header.algorithm) {
            return Err(ErrorKind::NotAllowed.because("the algorithm is not allowed here"));
        }
        if self.signature.len() > MAX_SIGNATURE {
            return Err(ErrorKind::BadSignature.because("the signature is longer than any"));
        }
        let mut buffer = Buffer::<{ 8192 / 8 + 8 }>::new();
        let signature = buffer.decode(self.signature)?;
        let key = keys.find(&self.header)?;
        key.verify(self.signed.as_bytes(), signature).map(|()| key)
    }
}
