//! Signs with a private key.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer, Curve25519SeedBin, EcPrivateKeyBin, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;

use super::{Encoding, der};
use crate::ParseError;

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// An elliptic curve: P-256, also called `prime256v1`.
    P256,
    /// An elliptic curve: P-384, also called `secp384r1`.
    P384,
    /// An Edwards curve (RFC 8032).
    Ed25519,
    /// RSA of 2048 to 8192 bits.
    Rsa,
}

impl KeyAlgorithm {
    /// How such a key signs where nobody asks for something else.
    pub fn signing(self) -> Signing {
        match self {
            Self::P256 => Signing::Es256,
            Self::P384 => Signing::Es384,
            Self::Ed25519 => Signing::EdDsa,
            Self::Rsa => Signing::Rs256,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        })
    }
}

/// How a message is signed, by the algorithms of JOSE (RFC 7518, 3.1; RFC 8037). Its `Display` is the `alg` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signing {
    /// ECDSA with P-256 and SHA-256; the signature is `r` and `s` of 32 bytes each.
    Es256,
    /// ECDSA with P-384 and SHA-384; the signature is `r` and `s` of 48 bytes each.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
    Ps256,
}

impl fmt::Display for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        })
    }
}

/// A key does not sign so: it is one for another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningError {
    pub(super) key: KeyAlgorithm,
    pub(super) how: Signing,
}

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key of the kind {} did not sign as {}; it does as {}", self.key, self.how, self.key.signing())
    }
}

impl std::error::Error for SigningError {}

/// The key as aws-lc has it, which wipes it when it is dropped.
pub(super) enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

const P256: &EcdsaSigningAlgorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
const P384: &EcdsaSigningAlgorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;

impl Signer {
    pub(super) fn new(encoding: Encoding, der: &[u8]) -> Result<Self, ParseError> {
        if !der::is_framed(encoding, der) {
            return Err(ParseError::new(
                "the private key is cut, has something behind it, or is not what its first line says: \
                 store it as `openssl pkey` writes it",
            ));
        }
        let elliptic = |from: fn(&'static EcdsaSigningAlgorithm, &[u8]) -> Result<EcdsaKeyPair, KeyRejected>| {
            from(P256, der).map(Self::P256).or_else(|_| from(P384, der).map(Self::P384))
        };
        let signer = match encoding {
            Encoding::Sec1 => elliptic(EcdsaKeyPair::from_private_key_der),
            Encoding::Pkcs1 => RsaKeyPair::from_der(der).map(Self::Rsa),
            Encoding::Pkcs8 => elliptic(EcdsaKeyPair::from_pkcs8)
                .or_else(|_| Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519))
                .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa)),
        };
        signer.map_err(|rejected| {
            ParseError::new(match rejected.description_() {
                "TooSmall" => "the RSA key has less than 2048 bits: have a longer one made",
                _ => "the private key is none of P-256, P-384, Ed25519 and RSA of 2048 to 8192 bits",
            })
        })
    }

    pub(super) fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::P256(_) => KeyAlgorithm::P256,
            Self::P384(_) => KeyAlgorithm::P384,
            Self::Ed25519(_) => KeyAlgorithm::Ed25519,
            Self::Rsa(_) => KeyAlgorithm::Rsa,
        }
    }

    pub(super) fn public_key(&self) -> Result<SubjectPublicKeyInfoDer<'static>, Unspecified> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        }?;
        Ok(der.as_ref().to_vec().into())
    }

    /// Hands over the number that is the key, if it is one on a curve: what other formats are made of.
    pub(super) fn number(&self, found: impl FnOnce(&[u8])) {
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                let number: Result<EcPrivateKeyBin<'_>, _> = pair.private_key().as_be_bytes();
                let _ = number.map(|number| found(number.as_ref()));
            }
            Self::Ed25519(pair) => {
                let seed: Result<Curve25519SeedBin<'_>, _> = pair.seed().and_then(|seed| seed.as_be_bytes());
                let _ = seed.map(|seed| found(seed.as_ref()));
            }
            Self::Rsa(_) => {}
        }
    }

    pub(super) fn sign(&self, how: Signing, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &random, message, &mut signature).map(|()| signature)
        };
        match (self, how) {
            (Self::P256(pair), Signing::Es256) | (Self::P384(pair), Signing::Es384) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec())
            }
            (Self::Ed25519(pair), Signing::EdDsa) => {
                pair.try_sign(message).map(|signature| signature.as_ref().to_vec())
            }
            (Self::Rsa(pair), Signing::Rs256) => rsa(pair, &RSA_PKCS1_SHA256),
            (Self::Rsa(pair), Signing::Ps256) => rsa(pair, &RSA_PSS_SHA256),
            _ => Err(Unspecified),
        }
    }
}
