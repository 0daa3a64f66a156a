//! A private key, with its certificates if they are in the same secret.

mod der;
mod pem;
mod signer;

use std::fmt;

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, SubjectPublicKeyInfoDer,
};
use secrecy::zeroize::{Zeroize, Zeroizing};
use serde::{Serialize, Serializer};
use webpki::EndEntityCert;

use self::pem::Block;
use self::signer::Signer;
pub use self::signer::{KeyAlgorithm, Signing, SigningError};
use crate::handle::REDACTED;
use crate::{FromSecret, ParseError};

/// How many lines of a PEM are known to the leak firewall each by itself: those of RSA with 4096 bits.
const LINES: usize = 64;

/// A line that is shorter is no secret by itself.
const LINE: usize = 16;

/// A private key, for TLS and for signing, with the chain of its certificates if the secret has one.
///
/// A secret that is one of these can be made into it:
///
/// - PEM of one private key: `PRIVATE KEY` (PKCS #8), `EC PRIVATE KEY` (SEC 1) or `RSA PRIVATE KEY` (PKCS #1), and of
///   its certificates in the order of their chain, before or behind it, as `tls.key` and `tls.crt` of Kubernetes are when
///   they are joined;
/// - a JSON object with that PEM in `private_key`, `certificate`, `ca_chain` and `issuing_ca`, or in `tls.key` and `tls.crt`. What
///   else there is counts for nothing. So what `pki/issue` of OpenBao and Vault answers can be stored as it is, in its formats
///   `pem` and `pem_bundle`; [`openbao`](crate::openbao) does not ask it itself, since that takes a write.
///
/// The key is P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits. An encrypted key is refused, and so is a first
/// certificate that is not about this key, or a certificate with another label, such as `TRUSTED CERTIFICATE`; nothing else of the certificates is looked at, nor whether they are valid today.
///
/// The [`firewall`](crate::firewall) knows the key as PEM, whole and by each of its first 64 lines, as DER, and on a curve as
/// the number that is `d` of a JWK.
///
/// ```
/// use halfbyte_secrets::{FromSecret, KeyAlgorithm, KeyPair};
///
/// # use base64::Engine as _;
/// # let key = aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
/// # let der = base64::engine::general_purpose::STANDARD.encode(key.to_pkcs8v1().unwrap());
/// # let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
/// let pair = KeyPair::from_secret(pem.as_bytes()).unwrap();
/// assert_eq!(pair.algorithm(), KeyAlgorithm::P256);
/// let signature = pair.sign(pair.algorithm().signing(), b"message").unwrap(); // ES256
/// assert_eq!(signature.len(), 64);
/// assert_eq!(format!("{pair:?}"), "KeyPair(P-256, [REDACTED])");
/// ```
pub struct KeyPair {
    encoding: Encoding,
    private: Zeroizing<Vec<u8>>,
    chain: Vec<CertificateDer<'static>>,
    public: SubjectPublicKeyInfoDer<'static>,
    algorithm: KeyAlgorithm,
    /// `None` once it is wiped.
    signer: Option<Signer>,
}

/// How the private key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pkcs8,
    Sec1,
    Pkcs1,
}

impl KeyPair {
    /// The private key, as rustls takes it: `pair.private_key().clone_key()` where that is to keep it, which is a copy that
    /// rustls does not wipe.
    pub fn private_key(&self) -> PrivateKeyDer<'_> {
        let der = self.private.as_slice();
        match self.encoding {
            Encoding::Pkcs8 => PrivatePkcs8KeyDer::from(der).into(),
            Encoding::Sec1 => PrivateSec1KeyDer::from(der).into(),
            Encoding::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
        }
    }

    /// The certificates in their order, that of the key first; none if the secret has none.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The public key, as `SubjectPublicKeyInfo` (RFC 5280, 4.1).
    pub fn public_key(&self) -> &SubjectPublicKeyInfoDer<'static> {
        &self.public
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The signature of `message`, which is hashed here. That of RSA takes about a millisecond.
    ///
    /// # Errors
    ///
    /// `how` is not for this kind of key.
    pub fn sign(&self, how: Signing, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let signed = self.signer.as_ref().and_then(|signer| signer.sign(how, message).ok());
        signed.ok_or(SigningError { key: self.algorithm, how })
    }
}

impl FromSecret for KeyPair {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        let (mut key, mut chain) = (None, Vec::new());
        pem::blocks(bytes, |block| {
            if block.is_private_key() {
                let next = private_key(block)?;
                // `pem_bundle` has it in two fields.
                if key.get_or_insert_with(|| next.clone()) != &next {
                    return Err(ParseError::new("there are two private keys: which is the one?"));
                }
            } else if block.label == b"CERTIFICATE" {
                let der = block.der().ok_or(ParseError::new("a certificate is not base64"))?;
                let certificate = CertificateDer::from(der.to_vec());
                if !chain.contains(&certificate) {
                    chain.push(certificate);
                }
            } else if block.label.ends_with(b"CERTIFICATE") {
                return Err(ParseError::new(
                    "a certificate is of a format that is not read: store it as `openssl x509` writes it",
                ));
            }
            Ok(())
        })?;
        let (encoding, private) = key.ok_or(ParseError::new("there is no private key in it, as PEM"))?;
        let signer = Signer::new(encoding, &private)?;
        let public = signer.public_key().map_err(|_| ParseError::new("the private key has no public key"))?;
        if let Some(first) = chain.first() {
            let first = EndEntityCert::try_from(first)
                .map_err(|_| ParseError::new("the first certificate is not one that rustls takes: X.509, version 3"))?;
            if first.subject_public_key_info() != public {
                return Err(ParseError::new("the first certificate is not that of the private key"));
            }
        }
        Ok(Self { encoding, private, chain, public, algorithm: signer.algorithm(), signer: Some(signer) })
    }

    /// All of it, and what [`KeyPair`] says.
    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        part(bytes.trim_ascii());
        let _was_parsed_before = pem::blocks(bytes, |block| {
            if block.is_private_key() {
                parts_of(block, part);
            }
            Ok(())
        });
    }
}

fn private_key(block: Block<'_>) -> Result<(Encoding, Zeroizing<Vec<u8>>), ParseError> {
    if block.is_encrypted() {
        return Err(ParseError::new(
            "the private key is encrypted: store it without its passphrase, as `openssl pkey` writes it",
        ));
    }
    let encoding = match block.label {
        b"PRIVATE KEY" => Encoding::Pkcs8,
        b"EC PRIVATE KEY" => Encoding::Sec1,
        b"RSA PRIVATE KEY" => Encoding::Pkcs1,
        _ => {
            return Err(ParseError::new(
                "the private key is of a format that is not read: store it as PKCS #8, as `openssl pkey` writes it",
            ));
        }
    };
    block.der().map(|der| (encoding, der)).ok_or(ParseError::new("the private key is not base64"))
}

fn parts_of(block: Block<'_>, part: &mut dyn FnMut(&[u8])) {
    part(block.whole);
    let lines = block.body.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    lines.filter(|line| line.len() >= LINE).take(LINES).for_each(&mut *part);
    if let Ok((encoding, der)) = private_key(block) {
        part(&der);
        if let Ok(signer) = Signer::new(encoding, &der) {
            signer.number(part);
        }
    }
}

impl Zeroize for KeyPair {
    fn zeroize(&mut self) {
        self.private.zeroize();
        self.signer = None;
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, {REDACTED})", self.algorithm)
    }
}

impl fmt::Display for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for KeyPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}
