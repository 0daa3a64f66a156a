//! Keys as operators have them, made by OpenSSL.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use halfbyte_core::fingerprint::mask;
use halfbyte_secrets::zeroize::Zeroize as _;
use halfbyte_secrets::{ExposeSecret as _, FromSecret, KeyAlgorithm, KeyPair, Secrets, Signing, SigningError};
use proptest::prelude::*;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::backend::Backend;
use super::lifecycle;

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("keys/", $name))
    };
}

const AUTHORITY: &str = key!("authority.crt");

fn pair(secret: &str) -> KeyPair {
    KeyPair::from_secret(secret.as_bytes()).unwrap_or_else(|error| panic!("{error}: {secret}"))
}

/// Why it is none; the reason says nothing of it.
fn refused(secret: &str) -> String {
    let error = KeyPair::from_secret(secret.as_bytes()).expect_err(secret);
    let said = format!("{error} {error:?} {error:#?}");
    let lines = secret.lines().filter(|line| line.len() > 8 && !line.starts_with("-----"));
    assert!(lines.into_iter().all(|line| !said.contains(line)), "{said}");
    error.to_string()
}

/// Table: a key, its certificate, what it is, and in which encoding rustls is given it.
const KEYS: [(&str, &str, KeyAlgorithm, &str); 7] = [
    (key!("p256.pem"), key!("p256.crt"), KeyAlgorithm::P256, "Pkcs8"),
    (key!("p256.sec1.pem"), "", KeyAlgorithm::P256, "Sec1"),
    (key!("p384.pem"), key!("p384.crt"), KeyAlgorithm::P384, "Pkcs8"),
    (key!("p384.sec1.pem"), key!("p384.crt"), KeyAlgorithm::P384, "Sec1"),
    (key!("ed25519.pem"), key!("ed25519.crt"), KeyAlgorithm::Ed25519, "Pkcs8"),
    (key!("rsa.pem"), key!("rsa.crt"), KeyAlgorithm::Rsa, "Pkcs8"),
    (key!("rsa.pkcs1.pem"), key!("rsa.crt"), KeyAlgorithm::Rsa, "Pkcs1"),
];

/// Signs with `pair`, and asks another half of the library whether it is its signature.
fn verified(pair: &KeyPair, how: Signing, algorithm: &'static dyn VerificationAlgorithm) -> bool {
    let signature = pair.sign(how, b"message").expect("signed");
    let public = UnparsedPublicKey::new(algorithm, pair.public_key().as_ref());
    assert!(public.verify(b"another message", &signature).is_err());
    public.verify(b"message", &signature).is_ok()
}

#[test]
fn each_kind_of_key_in_each_format_signs_and_is_taken_by_rustls() {
    for (key, certificate, algorithm, encoding) in KEYS {
        let pair = pair(&format!("{key}{certificate}"));
        assert_eq!(pair.algorithm(), algorithm);
        assert_eq!(pair.chain().len(), usize::from(!certificate.is_empty()));
        let taken = match pair.private_key() {
            PrivateKeyDer::Pkcs8(_) => "Pkcs8",
            PrivateKeyDer::Sec1(_) => "Sec1",
            _ => "Pkcs1",
        };
        assert_eq!(taken, encoding);
        let signer = any_supported_type(&pair.private_key()).expect("a key for rustls");
        let certified = CertifiedKey::new(pair.chain().to_vec(), signer);
        assert!(certificate.is_empty() || certified.keys_match().is_ok());
        let verification: &[(Signing, &'static dyn VerificationAlgorithm)] = match algorithm {
            KeyAlgorithm::P256 => &[(Signing::Es256, &ECDSA_P256_SHA256_FIXED)],
            KeyAlgorithm::P384 => &[(Signing::Es384, &ECDSA_P384_SHA384_FIXED)],
            KeyAlgorithm::Ed25519 => &[(Signing::EdDsa, &ED25519)],
            _ => &[(Signing::Rs256, &RSA_PKCS1_2048_8192_SHA256), (Signing::Ps256, &RSA_PSS_2048_8192_SHA256)],
        };
        assert_eq!(algorithm.signing(), verification[0].0);
        for how in [Signing::Es256, Signing::Es384, Signing::EdDsa, Signing::Rs256, Signing::Ps256] {
            match verification.iter().find(|(ours, _)| *ours == how) {
                Some((_, verification)) => assert!(verified(&pair, how, *verification), "{algorithm} {how}"),
                None => assert!(pair.sign(how, b"message").is_err(), "{algorithm} {how}"),
            }
        }
    }
}

#[test]
fn one_key_is_the_same_in_each_of_its_formats() {
    for (one, other) in [(key!("p384.pem"), key!("p384.sec1.pem")), (key!("rsa.pem"), key!("rsa.pkcs1.pem"))] {
        let (one, other) = (pair(one), pair(other));
        assert_eq!(one.public_key(), other.public_key());
        assert_ne!(one.private_key().secret_der(), other.private_key().secret_der());
    }
}

#[test]
fn what_does_not_sign_so_says_what_does() {
    let error: SigningError = pair(key!("ed25519.pem")).sign(Signing::Rs256, b"m").expect_err("another kind");
    assert_eq!(error.to_string(), "a key of the kind Ed25519 did not sign as RS256; it does as EdDSA");
}

#[test]
fn a_chain_is_the_certificates_in_their_order_wherever_the_key_stands() {
    let (key, leaf) = (key!("p256.pem"), key!("p256.crt"));
    let expected = pair(&format!("{key}{leaf}{AUTHORITY}")).chain().to_vec();
    assert_eq!(expected.len(), 2);
    let crlf = format!("{leaf}{AUTHORITY}{key}").replace('\n', "\r\n");
    for secret in [format!("{leaf}{AUTHORITY}{key}"), format!("{leaf}{key}\n{AUTHORITY}"), crlf] {
        assert_eq!(pair(&secret).chain(), expected);
    }
}

#[test]
fn what_pki_issue_answered_is_a_pair() {
    let (key, leaf) = (key!("p256.pem"), key!("p256.crt"));
    let issued = json!({
        "ca_chain": [AUTHORITY], "certificate": leaf, "expiration": 1_822_000_000, "issuing_ca": AUTHORITY,
        "private_key": key, "private_key_type": "ec", "serial_number": "1d:2e",
    });
    // In the format `pem_bundle`.
    let bundle =
        json!({"private_key": key, "certificate": format!("{key}\n{leaf}\n{AUTHORITY}"), "issuing_ca": AUTHORITY});
    let root = json!({"private_key": key, "certificate": leaf, "ca_chain": null, "issuing_ca": AUTHORITY});
    let kubernetes = json!({"tls.key": key, "tls.crt": format!("{leaf}{AUTHORITY}")});
    let expected = pair(&format!("{key}{leaf}{AUTHORITY}")).chain().to_vec();
    for json in [issued, bundle, root, kubernetes] {
        assert_eq!(pair(&json.to_string()).chain(), expected, "{json}");
    }
}

/// The same with a byte more behind its DER.
fn behind(key: &str) -> String {
    let (begin, rest) = key.split_once("-----\n").expect("PEM");
    let (body, end) = rest.split_once("-----").expect("PEM");
    let mut der = STANDARD.decode(body.replace('\n', "")).expect("base64");
    der.push(0);
    format!("{begin}-----\n{}\n-----{end}", STANDARD.encode(der))
}

#[test]
fn what_is_no_pair_is_refused_with_what_to_do() {
    let (p256, leaf) = (key!("p256.pem"), key!("p256.crt"));
    let cut = &p256[..p256.len() - 20];
    let garbled = p256.replacen('M', "*", 1);
    let other = p256.replacen("MIGH", "MIGI", 1);
    let cases = [
        ("", "no private key"),
        ("hunter2hunter2", "no private key"),
        (leaf, "no private key"),
        ("{\"private_key\":\"hunter2hunter2\"}", "no private key"),
        ("{\"private_key\":17}", "no private key"),
        ("{\"hunter2hunter2\":", "not JSON"),
        (&format!("{p256}{}", key!("p384.pem")), "two private keys"),
        (&format!("{}{}", key!("rsa.pem"), key!("rsa.pkcs1.pem")), "two private keys"),
        (key!("encrypted.pem"), "is encrypted: store it without"),
        (key!("encrypted.pkcs1.pem"), "is encrypted: store it without"),
        (&format!("{p256}{}", key!("encrypted.pem")), "is encrypted: store it without"),
        (key!("openssh.pem"), "store it as PKCS #8"),
        (key!("p521.pem"), "is none of P-256"),
        (key!("rsa1024.pem"), "less than 2048 bits"),
        (cut, "has no end"),
        (&garbled, "the private key is not base64"),
        (&other, "is cut"),
        (&behind(p256), "something behind it"),
        (&behind(key!("ed25519.pem")), "something behind it"),
        (&behind(key!("p384.sec1.pem")), "something behind it"),
        (&behind(key!("rsa.pkcs1.pem")), "something behind it"),
        (&p256.replace("PRIVATE", "EC PRIVATE"), "not what its first line says"),
        (&key!("p384.sec1.pem").replace("EC ", ""), "is none of P-256"),
        (&key!("rsa.pkcs1.pem").replace("RSA ", ""), "is none of P-256"),
        (&key!("rsa.pem").replace("PRIVATE", "RSA PRIVATE"), "is none of P-256"),
        (&p256.replace("PRIVATE", "RSA PRIVATE"), "is none of P-256"),
        (&key!("rsa.pkcs1.pem").replace("RSA ", "EC "), "not what its first line says"),
        (&format!("{p256}{}", key!("p384.crt")), "not that of the private key"),
        (&format!("{p256}{AUTHORITY}{leaf}"), "not that of the private key"),
        (&format!("{p256}{}", key!("p256.v1.crt")), "X.509, version 3"),
        (&format!("{p256}{}", leaf.replacen("MII", "AII", 1)), "X.509, version 3"),
        (&format!("{p256}{}", leaf.replacen('M', "*", 1)), "a certificate is not base64"),
        (&format!("{p256}{}", leaf.replace("CERT", "TRUSTED CERT")), "as `openssl x509` writes it"),
        (&format!("{p256}{leaf}{}", AUTHORITY.replace("CERT", "X509 CERT")), "as `openssl x509` writes it"),
    ];
    for (secret, why) in cases {
        let said = refused(secret);
        assert!(said.contains(why), "{said} is to say: {why}");
    }
}

#[test]
fn nothing_of_it_is_printed() {
    for (key, certificate, algorithm, _) in KEYS {
        let pair = pair(&format!("{key}{certificate}"));
        assert_eq!(format!("{pair:?}"), format!("KeyPair({algorithm}, [REDACTED])"));
        assert_eq!((pair.to_string(), json!(pair).to_string()), ("[REDACTED]".into(), "\"[REDACTED]\"".into()));
    }
}

#[test]
fn it_is_wiped_whole() {
    let mut pair = pair(key!("p256.pem"));
    pair.zeroize();
    assert_eq!(pair.private_key().secret_der(), b"");
    assert!(pair.sign(Signing::Es256, b"message").is_err());
}

/// Each is to be masked by itself.
fn forms(secret: &str) -> Vec<String> {
    let pair = pair(secret);
    let der = pair.private_key().secret_der().to_vec();
    let block = secret[secret.rfind("-----BEGIN").expect("PEM")..].trim();
    let lines = block.lines().filter(|line| line.len() > 15 && !line.starts_with("-----"));
    let mut forms: Vec<_> = lines.map(str::to_owned).collect();
    forms.extend([block.to_owned(), block.escape_debug().to_string()]);
    forms.push(json!(block).to_string().trim_matches('"').to_owned());
    forms.extend([STANDARD.encode(&der), URL_SAFE_NO_PAD.encode(&der), format!("{der:?}").replace(['[', ']'], "")]);
    forms.push(der.iter().map(|byte| format!("{byte:02x}")).collect());
    if let Some(at) = der.windows(2).position(|window| matches!(window, [4, 0x20 | 0x30]))
        && pair.algorithm() != KeyAlgorithm::Rsa
    {
        let length = usize::from(der[at + 1]);
        forms.push(URL_SAFE_NO_PAD.encode(&der[at + 2..][..length]));
    }
    forms
}

#[tokio::test(start_paused = true)]
async fn a_live_key_is_masked_in_each_of_its_forms() {
    for name in ["p384.sec1", "ed25519", "rsa", "json"] {
        let (key, certificate) = match name {
            "p384.sec1" => (key!("p384.sec1.pem"), ""),
            "ed25519" => (key!("ed25519.pem"), key!("ed25519.crt")),
            "rsa" => (key!("rsa.pem"), key!("rsa.crt")),
            _ => (key!("p256.pem"), key!("p256.crt")),
        };
        let secret = match name {
            "json" => json!({"private_key": key, "certificate": certificate}).to_string(),
            _ => format!("{certificate}{key}"),
        };
        let forms = forms(key);
        assert!(forms.len() >= if name == "rsa" { 30 } else { 8 }, "{}", forms.len());
        let handle = Secrets::new(Backend::holding(secret), &lifecycle()).get::<KeyPair>("key");
        assert!(forms.iter().all(|form| mask(form) == *form), "{name} is known before it is read");
        handle.ready().await.expect("loaded");
        let loaded = handle.load().expect("loaded");
        for form in forms {
            assert_eq!(mask(&format!("<{form}>")), "<[REDACTED]>", "{name}: {form}");
        }
        // What is public stays.
        let public = STANDARD.encode(loaded.expose_secret().public_key());
        assert_eq!(mask(&public), public);
    }
}

#[test]
fn what_is_masked_of_a_key_are_few_parts() {
    let count = |secret: &str| {
        let mut count = 0;
        KeyPair::secret_parts(secret.as_bytes(), &mut |_| count += 1);
        count
    };
    // All, the block, three lines, the DER and the number.
    assert_eq!(count(key!("p256.pem")), 7);
    assert_eq!(count(&format!("{}{}", key!("p256.pem"), key!("p256.crt"))), 7);
    let line = "A".repeat(64) + "\n";
    let long = format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n", line.repeat(1000));
    assert_eq!(count(&long), 2 + 64 + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_input_makes_it_panic(input in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,80}") {
        let label = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
        let blocks = label.map(|label| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(&input)));
        let json = json!({"private_key": blocks[0], "certificate": text}).to_string();
        let inputs = [&input[..], text.as_bytes(), blocks[0].as_bytes(), blocks[1].as_bytes(), blocks[2].as_bytes(), json.as_bytes()];
        for input in inputs {
            prop_assert!(KeyPair::from_secret(input).is_err());
            KeyPair::secret_parts(input, &mut |_| {});
        }
    }

    #[test]
    fn a_key_with_one_byte_changed_is_a_pair_or_an_error_without_a_word_of_it(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0..KEYS.len(),
    ) {
        let (key, certificate, ..) = KEYS[which];
        let mut secret = format!("{key}{certificate}").into_bytes();
        let at = at.index(secret.len());
        secret[at] = byte;
        if let Err(error) = KeyPair::from_secret(&secret) {
            let said = format!("{error} {error:?}");
            let text = String::from_utf8_lossy(&secret);
            let leaked = text.lines().filter(|line| line.len() > 15 && !line.contains('-')).any(|line| said.contains(line));
            prop_assert!(!leaked, "{}", said);
        }
    }
}
