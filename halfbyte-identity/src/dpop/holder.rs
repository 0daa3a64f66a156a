//! A client that has a key and makes proofs with it, for the tests.

use std::sync::OnceLock;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

pub(super) const NOW: i64 = 1_900_000_000;
pub(super) const TOKEN: &str = "a.b.c";
pub(super) const PUBLIC_URL: &str = "https://api.example";

/// A client that has a key.
pub(super) struct Holder {
    alg: &'static str,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One for all tests: an RSA key takes long to make.
fn rsa() -> &'static RsaKeyPair {
    static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("made"))
}

impl Holder {
    pub(super) fn new(alg: &'static str) -> Self {
        let pair = match alg {
            "ES256" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("made")),
            "ES384" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("made")),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().expect("made")),
            "PS256" => Pair::Rsa(rsa(), &RSA_PSS_SHA256),
            "RS256" => Pair::Rsa(rsa(), &RSA_PKCS1_SHA256),
            other => panic!("no such algorithm: {other}"),
        };
        Self { alg, pair }
    }

    pub(super) fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}),
            Pair::Rsa(pair, _) => {
                // PKCS #1: a sequence of two integers, whose sizes are those of a 2048-bit key.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": b64(&der[9..265]), "e": b64(&der[267..])})
            }
        }
    }

    pub(super) fn thumbprint(&self) -> [u8; 32] {
        thumbprint(self.jwk().as_object().expect("an object")).expect("a key")
    }

    pub(super) fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk()})
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).expect("signed").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).expect("signed");
                signature
            }
        }
    }

    pub(super) fn proof(&self, claims: &Value) -> String {
        self.proof_of(&self.header().to_string(), &claims.to_string())
    }

    /// Any header and claims at all, with a good signature.
    pub(super) fn proof_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        format!("{signed}.{}", b64(self.sign(signed.as_bytes())))
    }
}

pub(super) fn claims() -> Value {
    json!({"jti": "id", "htm": "GET", "htu": "https://api.example/labels", "iat": NOW, "ath": ath(TOKEN)})
}

pub(super) fn ath(token: &str) -> String {
    b64(digest(&SHA256, token.as_bytes()))
}

pub(super) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(super) fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

pub(super) fn proofs(nonce_required: bool) -> Proofs {
    Proofs::new(&PUBLIC_URL.parse().expect("a URL"), nonce_required, None).expect("made")
}

pub(super) fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (DPOP, HeaderValue::from_str(value).expect("a header"))).collect()
}

/// Sends `proof` with a request that is good in every other way.
pub(super) fn send(proofs: &Proofs, holder: &Holder, proof: &str, now: i64) -> Result<Option<HeaderValue>, Problem> {
    proofs.check(&Method::GET, "/labels", &headers(&[proof]), TOKEN, &holder.thumbprint(), at(now))
}

pub(super) fn assert_refused(result: Result<Option<HeaderValue>, Problem>, fault: Fault, why: &dyn std::fmt::Display) {
    assert_eq!(result.expect_err("refused"), Problem::invalid_dpop_proof(fault.detail()).dpop(ALGORITHMS), "{why}");
}
