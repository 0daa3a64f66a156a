//! How a client proves with a key who it is: `private_key_jwt` (OpenID Connect Core 1.0, 9; RFC 7523).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use halfbyte_core::BoxError;
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::Error;
use super::authentication::SecretFn;

/// A client's private key, for [`ClientAuthentication::private_key_jwt`](super::ClientAuthentication::private_key_jwt).
///
/// Each assertion is good for one minute and one use (`jti`). Its `aud` is the issuer's identifier alone, so that an
/// assertion can be used nowhere else; where an issuer asks for the address of its token endpoint, say so by
/// [`audience`](Self::audience).
///
/// ```
/// use halfbyte_identity::outbound::{ClientAuthentication, PrivateKeyJwt};
///
/// let key = PrivateKeyJwt::new(|| Ok("-----BEGIN PRIVATE KEY-----\n…".into())).key_id("2031-05");
/// let authentication = ClientAuthentication::private_key_jwt(key);
/// ```
pub struct PrivateKeyJwt {
    key: SecretFn,
    key_id: Option<Box<str>>,
    audience: Option<Box<str>>,
}

const LIFETIME: Duration = Duration::from_secs(60);

impl PrivateKeyJwt {
    /// The key that `key` answers, in PKCS #8 without a password: as PEM, or as the DER in base64. The key's kind chooses the
    /// algorithm: P-256 ES256, P-384 ES384, Ed25519 EdDSA, RSA from 2048 bits RS256.
    ///
    /// `key` is asked at each use, so that a rotated key is used from the next call on.
    pub fn new(key: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static) -> Self {
        Self { key: Box::new(key), key_id: None, audience: None }
    }

    /// The name (`kid`) under which the issuer knows the key.
    #[must_use]
    pub fn key_id(mut self, key_id: &str) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// What `aud` is to be in place of the issuer's identifier.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.into());
        self
    }

    pub(super) fn assertion(&self, client_id: &str, issuer: &str, now: Timestamp) -> Result<SecretString, Error> {
        let key =
            (self.key)().map_err(|error| Error::configuration("the client's key is not to be had").caused_by(error))?;
        let key = SigningKey::parse(&key)?;
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| Error::configuration("this machine gives no random numbers"))?;
        let mut header = json!({ "alg": key.algorithm() });
        if let Some(key_id) = &self.key_id {
            header["kid"] = json!(key_id);
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience.as_deref().unwrap_or(issuer),
            "iat": now.as_second(),
            "exp": now.as_second().saturating_add(LIFETIME.as_secs().cast_signed()),
            "jti": URL_SAFE_NO_PAD.encode(id),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let mut assertion = format!("{}.{}", encode(&header), encode(&claims));
        let signature = key.sign(assertion.as_bytes())?;
        assertion.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion.into())
    }
}

/// Shows the key's name, never the key.
impl fmt::Debug for PrivateKeyJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKeyJwt").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

enum SigningKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    fn parse(text: &SecretString) -> Result<Self, Error> {
        let der = der(text.expose_secret()).ok_or_else(|| {
            Error::configuration("the client's key is neither PEM of a PKCS #8 key nor its DER in base64")
        })?;
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map(Self::P256);
        p256()
            .or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der).map(Self::P384))
            .or_else(|_| Ed25519KeyPair::from_pkcs8(&der).map(Self::Ed25519))
            .or_else(|_| RsaKeyPair::from_pkcs8(&der).map(Self::Rsa))
            .map_err(|_| {
                Error::configuration("the client's key is none of P-256, P-384, Ed25519 and RSA from 2048 bits")
            })
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let signed = match self {
            Self::P256(pair) | Self::P384(pair) => pair.sign(&random, message).map(|signed| signed.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        signed.map_err(|_| Error::configuration("the client's key does not sign"))
    }
}

/// RFC 7468: what stands between the two lines, or all of it where there are none.
fn der(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = match text.split_once("-----BEGIN PRIVATE KEY-----") {
        Some((_, rest)) => rest.split_once("-----END PRIVATE KEY-----")?.0,
        None => text,
    };
    let packed: Zeroizing<Vec<u8>> = Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*packed).ok().map(Zeroizing::new)
}
