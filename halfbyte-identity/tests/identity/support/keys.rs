use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A private key that signs tokens by one algorithm.
pub struct Key {
    pub alg: &'static str,
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
    Ed(Ed25519KeyPair),
}

impl Key {
    pub fn new(alg: &'static str, kid: &str) -> Self {
        let ec = |algorithm| Pair::Ec(EcdsaKeyPair::generate(algorithm).expect("made"));
        let pair = match alg {
            "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().expect("made")),
            "RS256" => Pair::Rsa(rsa(), &RSA_PKCS1_SHA256),
            "RS384" => Pair::Rsa(rsa(), &RSA_PKCS1_SHA384),
            "RS512" => Pair::Rsa(rsa(), &RSA_PKCS1_SHA512),
            "PS256" => Pair::Rsa(rsa(), &RSA_PSS_SHA256),
            "PS384" => Pair::Rsa(rsa(), &RSA_PSS_SHA384),
            "PS512" => Pair::Rsa(rsa(), &RSA_PSS_SHA512),
            other => panic!("no such algorithm: {other}"),
        };
        Self { alg, kid: kid.to_owned(), pair }
    }

    pub fn es256(kid: &str) -> Self {
        Self::new("ES256", kid)
    }

    /// The public half, as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.alg {
                    "ES256" => "P-256",
                    "ES384" => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Rsa(pair, _) => {
                // PKCS #1: a sequence of two integers, whose sizes are those of a 2048-bit key.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": b64(&der[9..265]), "e": b64(&der[267..])})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        };
        jwk["alg"] = json!(self.alg);
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half in the form of RFC 5280: what an attacker takes for a symmetric key.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The private half as a client keeps it: PKCS #8 in PEM.
    pub fn pem(&self) -> String {
        let der = match &self.pair {
            Pair::Ec(pair) => pair.to_pkcs8v1().expect("encoded").as_ref().to_vec(),
            Pair::Ed(pair) => pair.to_pkcs8v1().expect("encoded").as_ref().to_vec(),
            Pair::Rsa(pair, _) => AsDer::<Pkcs8V1Der<'_>>::as_der(*pair).expect("encoded").as_ref().to_vec(),
        };
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    /// The private half of an EC key, as it must never be published.
    pub fn private_part(&self) -> String {
        match &self.pair {
            Pair::Ec(pair) => b64(pair.private_key().as_be_bytes().expect("given").as_ref()),
            _ => panic!("not an EC key"),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).expect("signed");
                signature
            }
        }
    }

    /// The signature in DER, as X.509 has it and JOSE has not.
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let Pair::Ec(pair) = &self.pair else { panic!("not an EC key") };
        let pkcs8 = pair.to_pkcs8v1().expect("encoded");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("read");
        pair.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec()
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.alg, "kid": self.kid, "typ": "at+jwt"})
    }

    /// A token as a good issuer makes it.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(&self.header().to_string(), &claims.to_string())
    }

    /// A token with any header and payload at all, with a good signature.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        self.token_of_parts(&b64(header), &b64(payload))
    }

    /// The same, where even the encoding is the test's.
    pub fn token_of_parts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{header}.{payload}");
        let signature = b64(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// One for all tests: an RSA key takes long to make.
fn rsa() -> &'static RsaKeyPair {
    static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("made"))
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Claims that are good at a product of these tests.
pub fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": super::AUDIENCE, "exp": super::NOW + 600, "sub": "ann", "tenant": "acme",
           "scope": "labels:read labels:write"})
}
