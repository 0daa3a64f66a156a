use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde_json::Value;

use super::{Algorithm, Error, ErrorKind, Header, Object, decode, parse_object};

/// A public key that verifies by one algorithm; read once, used for many tokens.
pub struct Jwk {
    key_id: Option<Box<str>>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// The keys of an issuer. One that cannot be used does not lose the others.
#[derive(Debug, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    rejected: Vec<RejectedJwk>,
}

/// A key that was left out of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedJwk {
    /// Its id, if it has one.
    pub key_id: Option<Box<str>>,
    /// Why.
    pub reason: &'static str,
}

/// The most keys that are read of one set; an issuer has a handful.
pub(crate) const MAX_KEYS: usize = 64;

impl JwkSet {
    /// Reads a JWK set. Keys that cannot be used here are left out and listed in [`rejected`](Self::rejected).
    ///
    /// # Errors
    ///
    /// It is not a JWK set, or has more keys than an issuer has any use for.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let object = parse_object(json)?;
        let Some(Value::Array(members)) = object.get("keys") else {
            return Err(ErrorKind::Malformed.because("no array of keys"));
        };
        if members.len() > MAX_KEYS {
            return Err(ErrorKind::Malformed.because("too many keys"));
        }
        let mut set = Self::default();
        for member in members {
            let key_id = member.get("kid").and_then(Value::as_str).map(Box::from);
            match member.as_object().map(Jwk::from_object) {
                Some(Ok(key)) => set.keys.push(key),
                Some(Err(reason)) => set.rejected.push(RejectedJwk { key_id, reason }),
                None => set.rejected.push(RejectedJwk { key_id, reason: "not an object" }),
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

    /// The key that `header` names. A token without `kid` is accepted only where there is no choice.
    pub(super) fn find(&self, header: &Header) -> Result<&Jwk, Error> {
        let unknown = ErrorKind::UnknownKey.because("no such key");
        let Some(id) = &header.key_id else {
            let mut fitting = self.keys.iter().filter(|key| key.algorithm == header.algorithm);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                _ => Err(unknown),
            };
        };
        // Where two keys have one id and one algorithm the first counts: an issuer that does so is at fault, and trying
        // all would be no help to it.
        let mut named = self.keys.iter().filter(|key| key.key_id.as_ref() == Some(id)).peekable();
        if named.peek().is_none() {
            return Err(unknown);
        }
        named
            .find(|key| key.algorithm == header.algorithm)
            .ok_or(ErrorKind::NotAllowed.because("the algorithm is not the key's"))
    }
}

impl Jwk {
    /// The id by which tokens name it.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The one algorithm it verifies by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.key
            .verify_sig(message, signature)
            .map_err(|_| ErrorKind::BadSignature.because("the signature does not fit"))
    }

    pub(crate) fn from_object(object: &Object) -> Result<Self, &'static str> {
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| object.contains_key(*member)) {
            return Err("a private or symmetric key is published");
        }
        if object.get("use").is_some_and(|usage| usage != "sig") {
            return Err("not for signatures");
        }
        let verifies =
            |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        if object.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return Err("not for verification");
        }
        let algorithm = algorithm_of(object)?;
        let key = match algorithm {
            Algorithm::Es256 => elliptic(object, "P-256", 32, &ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => elliptic(object, "P-384", 48, &ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDsa => edwards(object),
            Algorithm::Rs256 => rsa(object, &RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => rsa(object, &RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => rsa(object, &RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => rsa(object, &RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => rsa(object, &RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => rsa(object, &RSA_PSS_2048_8192_SHA512),
        }?;
        let key_id = match object.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str().into()),
            Some(_) => return Err("the id is not a string"),
        };
        Ok(Self { key_id, algorithm, key })
    }
}

/// The key's own algorithm: `alg` where it says so, else what its type is meant for (RSA: RS256, as OpenID Connect has it).
fn algorithm_of(object: &Object) -> Result<Algorithm, &'static str> {
    let member = |name| object.get(name).and_then(Value::as_str);
    let natural = match (member("kty"), member("crv")) {
        (Some("EC"), Some("P-256")) => Algorithm::Es256,
        (Some("EC"), Some("P-384")) => Algorithm::Es384,
        (Some("OKP"), Some("Ed25519")) => Algorithm::EdDsa,
        (Some("RSA"), _) => Algorithm::Rs256,
        _ => return Err("not a key type of ours"),
    };
    let Some(named) = object.get("alg") else { return Ok(natural) };
    let named = named.as_str().and_then(Algorithm::from_name).ok_or("not an algorithm of ours")?;
    let is_rsa = |algorithm: Algorithm| algorithm.as_str().starts_with(['R', 'P']);
    if named == natural || (is_rsa(natural) && is_rsa(named)) {
        Ok(named)
    } else {
        Err("the algorithm is not one of its key type")
    }
}

fn bytes(object: &Object, member: &str) -> Result<Vec<u8>, &'static str> {
    let text = object.get(member).and_then(Value::as_str).ok_or("a coordinate is missing")?;
    decode(text).map_err(|_| "a coordinate is not canonical base64url")
}

fn elliptic(
    object: &Object,
    curve: &str,
    size: usize,
    algorithm: &'static dyn VerificationAlgorithm,
) -> Result<ParsedPublicKey, &'static str> {
    if object.get("crv").is_none_or(|named| named != curve) {
        return Err("the curve is not the algorithm's");
    }
    let (x, y) = (bytes(object, "x")?, bytes(object, "y")?);
    if x.len() != size || y.len() != size {
        return Err("a coordinate has the wrong length");
    }
    // SEC 1, uncompressed point; that it is on the curve is checked by the parse.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(algorithm, point).map_err(|_| "the point is not on the curve")
}

fn edwards(object: &Object) -> Result<ParsedPublicKey, &'static str> {
    let x = bytes(object, "x")?;
    if x.len() != 32 {
        return Err("a coordinate has the wrong length");
    }
    if is_of_low_order(&x) {
        return Err("the point is one that anybody can sign for");
    }
    ParsedPublicKey::new(&ED25519, x).map_err(|_| "the point is not on the curve")
}

/// Points of order 1, 2, 4 and 8 on edwards25519, in each spelling: a signature by one of them fits without a private key.
fn is_of_low_order(point: &[u8]) -> bool {
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
    ];
    let Some((last, rest)) = point.split_last() else { return true };
    let (last, Some((first, middle))) = (last & 0x7f, rest.split_first()) else { return true };
    let small = *first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    // p - 1, and p and p + 1 which stand for 0 and 1.
    let around_p = (0xec..=0xee).contains(first) && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    small || around_p || ORDER_EIGHT.iter().any(|known| known[..31] == *rest && known[31] == last)
}

fn rsa(object: &Object, parameters: &'static RsaParameters) -> Result<ParsedPublicKey, &'static str> {
    let (n, e) = (bytes(object, "n")?, bytes(object, "e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize).min(n.len() * 8);
    if n.first().is_none_or(|first| *first == 0) || !(2048..=8192).contains(&bits) {
        return Err("the modulus is not one of 2048 to 8192 bits");
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(&n) || !is_odd(&e) || e == [1] || e.first() == Some(&0) || e.len() > 4 {
        return Err("the modulus or the exponent is not one of a real key");
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| "not an RSA key")
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk").field("key_id", &self.key_id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
