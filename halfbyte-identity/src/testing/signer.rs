use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::jose::Algorithm;

/// A private key that signs by one algorithm.
pub(super) struct Signer {
    algorithm: Algorithm,
    key_id: Box<str>,
    pair: Pair,
}

enum Pair {
    Ec { pair: EcdsaKeyPair, curve: &'static str, in_der: &'static EcdsaSigningAlgorithm },
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
    Ed(Ed25519KeyPair),
}

/// Whose key it is: RSA keys take long to make, so that all issuers of a process share one, and all strangers another.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    Issuer,
    Stranger,
}

/// A machine that has no memory or no randomness left cannot test anything.
const MADE: &str = "the cryptographic library makes keys and signatures";

impl Signer {
    /// A new key.
    ///
    /// # Panics
    ///
    /// `algorithm` is symmetric: an issuer publishes its keys.
    pub(super) fn generate(algorithm: Algorithm, key_id: &str, owner: Owner) -> Self {
        let ec = |curve, fixed, in_der| {
            let pair = EcdsaKeyPair::generate(fixed).expect(MADE);
            Pair::Ec { pair, curve, in_der }
        };
        let pair = match algorithm.as_str() {
            "ES256" => ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_ASN1_SIGNING),
            "ES384" => ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING),
            "ES512" => ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().expect(MADE)),
            "RS256" => Pair::Rsa(rsa(owner), &RSA_PKCS1_SHA256),
            "RS384" => Pair::Rsa(rsa(owner), &RSA_PKCS1_SHA384),
            "RS512" => Pair::Rsa(rsa(owner), &RSA_PKCS1_SHA512),
            "PS256" => Pair::Rsa(rsa(owner), &RSA_PSS_SHA256),
            "PS384" => Pair::Rsa(rsa(owner), &RSA_PSS_SHA384),
            "PS512" => Pair::Rsa(rsa(owner), &RSA_PSS_SHA512),
            symmetric => panic!("an issuer cannot publish keys for {symmetric}"),
        };
        Self { algorithm, key_id: key_id.into(), pair }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public half as it is published (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["alg"] = json!(self.algorithm.as_str());
        jwk["kid"] = json!(self.key_id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half and nothing else: the members that RFC 7638 makes a thumbprint of.
    pub(super) fn bare_jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec { pair, curve, .. } => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Rsa(pair, _) => {
                // PKCS #1: a sequence of two integers, whose sizes are those of a 2048-bit key.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": b64(&der[9..265]), "e": b64(&der[267..])})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        }
    }

    /// The thumbprint of RFC 7638 with SHA-256, as `jkt` has it.
    pub(super) fn thumbprint(&self) -> String {
        let Value::Object(members) = self.bare_jwk() else { return String::new() };
        let sorted: std::collections::BTreeMap<_, _> = members.into_iter().collect();
        b64(sha256(json!(sorted).to_string().as_bytes()))
    }

    /// The public half by itself: a point, or the two integers of PKCS #1.
    pub(super) fn public_bytes(&self) -> &[u8] {
        match &self.pair {
            Pair::Ec { pair, .. } => pair.public_key().as_ref(),
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
            Pair::Ed(pair) => pair.public_key().as_ref(),
        }
    }

    /// The public half as X.509 has it (RFC 5280, SubjectPublicKeyInfo).
    pub(super) fn public_der(&self) -> Vec<u8> {
        let der: Result<PublicKeyX509Der<'_>, Unspecified> = match &self.pair {
            Pair::Ec { pair, .. } => pair.public_key().as_der(),
            Pair::Rsa(pair, _) => pair.public_key().as_der(),
            Pair::Ed(pair) => pair.public_key().as_der(),
        };
        der.expect(MADE).as_ref().to_vec()
    }

    pub(super) fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    /// The signature as JOSE has it.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ec { pair, .. } => pair.sign(&SystemRandom::new(), message).expect(MADE).as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).expect(MADE);
                signature
            }
        }
    }

    /// The signature of an elliptic curve in DER, as X.509 has it and JOSE has not; `None` of other keys.
    pub(super) fn sign_der(&self, message: &[u8]) -> Option<Vec<u8>> {
        let Pair::Ec { pair, in_der, .. } = &self.pair else { return None };
        let private = pair.to_pkcs8v1().expect(MADE);
        let pair = EcdsaKeyPair::from_pkcs8(in_der, private.as_ref()).expect(MADE);
        Some(pair.sign(&SystemRandom::new(), message).expect(MADE).as_ref().to_vec())
    }

    /// The header of a good access token.
    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm.as_str(), "kid": self.key_id, "typ": "at+jwt"})
    }

    /// A token of any header and payload at all, with a good signature.
    pub(super) fn token(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.token_of_parts(&b64(header), &b64(payload))
    }

    /// The same where even the encoding is the caller's.
    pub(super) fn token_of_parts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{header}.{payload}");
        let signature = b64(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = (&self.algorithm, &self.key_id);
        f.debug_struct("Signer").field("algorithm", name.0).field("key_id", name.1).finish_non_exhaustive()
    }
}

fn rsa(owner: Owner) -> &'static RsaKeyPair {
    static PAIRS: [OnceLock<RsaKeyPair>; 2] = [const { OnceLock::new() }; 2];
    PAIRS[owner as usize].get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect(MADE))
}

/// Base64url without padding (RFC 7515).
pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// A name that nobody guesses, of 128 bits.
pub(super) fn random_text() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect(MADE);
    b64(bytes)
}

/// The text form of RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::{self, JwkSet};

    #[test]
    fn what_is_signed_by_each_algorithm_is_verified_with_the_published_key_and_no_other() {
        let names = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];
        for algorithm in names.into_iter().filter_map(Algorithm::from_name) {
            let (signer, stranger) =
                (Signer::generate(algorithm, "k", Owner::Issuer), Signer::generate(algorithm, "k", Owner::Stranger));
            let set = |signer: &Signer| JwkSet::parse(json!({"keys": [signer.jwk()]}).to_string().as_bytes());
            let token = signer.token(signer.header().to_string(), "{}");
            assert!(jose::verify(&token, &set(&signer).expect("keys"), &[algorithm]).is_ok(), "{algorithm}");
            assert!(jose::verify(&token, &set(&stranger).expect("keys"), &[algorithm]).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_the_members_in_order_without_white_space() {
        let signer = Signer::generate(Algorithm::Es256, "k", Owner::Stranger);
        let jwk = signer.bare_jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        assert_eq!(signer.thumbprint(), b64(sha256(text.as_bytes())));
    }

    #[test]
    fn a_public_key_in_pem_has_lines_of_at_most_64_characters_between_its_borders() {
        let pem = Signer::generate(Algorithm::Es256, "k", Owner::Issuer).public_pem();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ"), "{pem}");
        assert!(pem.ends_with("\n-----END PUBLIC KEY-----\n"), "{pem}");
        assert!(pem.lines().all(|line| line.len() <= 64));
    }
}
