//! The numbers of a public key (RFC 7518, 6; RFC 8037, 2), checked before anything is verified with them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde_json::Value;

use super::roca::is_roca;
use super::{Algorithm, Object, decode};

/// The public key that `object` holds, for that algorithm.
pub(super) fn public_key(object: &Object, algorithm: Algorithm) -> Result<ParsedPublicKey, &'static str> {
    match algorithm {
        Algorithm::Es256 => elliptic(object, "P-256", 32, &ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => elliptic(object, "P-384", 48, &ECDSA_P384_SHA384_FIXED),
        Algorithm::Es512 => elliptic(object, "P-521", 66, &ECDSA_P521_SHA512_FIXED),
        Algorithm::EdDsa => edwards(object),
        Algorithm::Rs256 => rsa(object, &RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => rsa(object, &RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => rsa(object, &RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => rsa(object, &RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => rsa(object, &RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => rsa(object, &RSA_PSS_2048_8192_SHA512),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => Err("a symmetric algorithm has no public key"),
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
    if is_roca(&n) {
        return Err("the modulus is one of those that can be factored (CVE-2017-15361)");
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| "not an RSA key")
}
