#![doc = include_str!("../docs/jose.md")]

mod algorithm;
mod base64url;
mod compact;
mod error;
mod header;
mod jwk;
mod key_set;
mod material;
mod roca;
mod strict;

pub use self::algorithm::Algorithm;
pub(crate) use self::base64url::decode;
pub(crate) use self::compact::Compact;
pub use self::error::{Error, ErrorKind};
pub use self::header::Header;
pub use self::jwk::Jwk;
pub(crate) use self::key_set::MAX_KEYS;
pub use self::key_set::{JwkSet, RejectedJwk};
pub(crate) use self::strict::{Name, Names, Unique};
pub use self::strict::{Object, parse_object};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The longest `kid`, in bytes.
const MAX_KEY_ID: usize = 256;

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
/// good says nothing yet about whom the token is for. Read them with [`parse_object`].
///
/// # Errors
///
/// [`ErrorKind::UnknownKey`] when no key fits, so that the caller may refresh them; any other kind is final.
pub fn verify(token: &str, keys: &JwkSet, allowed: &[Algorithm]) -> Result<Verified, Error> {
    let token = Compact::parse(token)?;
    token.check(keys, allowed)?;
    Ok(Verified { header: token.header, payload: token.payload })
}
