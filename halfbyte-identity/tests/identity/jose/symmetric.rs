use aws_lc_rs::hmac;
use halfbyte_identity::jose::{Algorithm, ErrorKind, Jwk, JwkSet, verify};
use serde_json::json;

use super::set_of;
use crate::support::{Key, b64};

const MACS: [(Algorithm, hmac::Algorithm, usize); 3] = [
    (Algorithm::Hs256, hmac::HMAC_SHA256, 32),
    (Algorithm::Hs384, hmac::HMAC_SHA384, 48),
    (Algorithm::Hs512, hmac::HMAC_SHA512, 64),
];

/// A secret as good as any for a test: no byte twice.
fn secret(length: usize) -> Vec<u8> {
    (1..=length).map(|byte| u8::try_from(byte).expect("short")).collect()
}

fn token(algorithm: Algorithm, mac: hmac::Algorithm, secret: &[u8]) -> String {
    let signed = format!("{}.{}", b64(format!(r#"{{"alg":"{algorithm}","kid":"k"}}"#)), b64(r#"{"sub":"ann"}"#));
    let tag = hmac::sign(&hmac::Key::new(mac, secret), signed.as_bytes());
    format!("{signed}.{}", b64(tag))
}

fn key(algorithm: Algorithm, secret: &[u8]) -> JwkSet {
    [Jwk::symmetric(Some("k"), algorithm, secret).expect("a good secret")].into_iter().collect()
}

pub(super) fn token_and_key(algorithm: Algorithm) -> (String, JwkSet) {
    let (_, mac, length) = MACS.into_iter().find(|(of, ..)| *of == algorithm).expect("a symmetric one");
    (token(algorithm, mac, &secret(length)), key(algorithm, &secret(length)))
}

#[test]
fn a_token_is_accepted_by_the_secret_that_signed_it_and_by_no_other() {
    for (algorithm, mac, length) in MACS {
        let good = token(algorithm, mac, &secret(length));
        let verified = verify(&good, &key(algorithm, &secret(length)), &[algorithm]).expect("verified");
        assert_eq!((verified.header.algorithm, &*verified.payload), (algorithm, &br#"{"sub":"ann"}"#[..]));
        let refused = verify(&good, &key(algorithm, &secret(length + 1)), &[algorithm]).expect_err("another secret");
        assert_eq!(refused.kind(), ErrorKind::BadSignature);
    }
}

#[test]
fn a_secret_verifies_by_its_one_algorithm() {
    for (signed_by, mac, _) in MACS {
        for (of_key, ..) in MACS {
            let outcome = verify(&token(signed_by, mac, &secret(64)), &key(of_key, &secret(64)), &Algorithm::SYMMETRIC);
            assert_eq!(outcome.is_ok(), signed_by == of_key);
            assert!(outcome.err().is_none_or(|error| error.kind() == ErrorKind::NotAllowed));
        }
    }
}

#[test]
fn what_issuers_tokens_are_allowed_has_no_symmetric_algorithm() {
    for (algorithm, mac, length) in MACS {
        assert!(!Algorithm::ASYMMETRIC.contains(&algorithm));
        let token = token(algorithm, mac, &secret(length));
        let refused = verify(&token, &key(algorithm, &secret(length)), &Algorithm::ASYMMETRIC).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::NotAllowed);
    }
}

#[test]
fn a_weak_secret_is_no_key() {
    for (algorithm, _, length) in MACS {
        let reason = |secret: &[u8]| {
            let error = Jwk::symmetric(Some("k"), algorithm, secret).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::BadKey);
            error.to_string()
        };
        assert!(Jwk::symmetric(Some("k"), algorithm, &secret(length)).is_ok());
        for short in [0, 1, length / 2, length - 1] {
            assert_eq!(reason(&secret(short)), "the secret is shorter than the output of the hash");
        }
        assert_eq!(reason(&vec![0; length]), "the secret is one byte repeated");
        assert_eq!(reason(&vec![b'x'; 2 * length]), "the secret is one byte repeated");
    }
}

#[test]
fn the_text_of_a_public_key_is_no_secret() {
    let rsa = Key::new("RS256", "k").jwk();
    for text in [
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----\n",
        "\n  -----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----\n",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 somebody@example.com and so on, long enough",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB and so on",
        &rsa.to_string(),
        &format!("{:#}", json!({ "keys": [rsa] })),
    ] {
        let error = Jwk::symmetric(None, Algorithm::Hs256, text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::BadKey, "{text}");
    }
}

#[test]
fn an_asymmetric_algorithm_has_no_secret_and_an_id_has_a_bounded_length() {
    for algorithm in Algorithm::ASYMMETRIC {
        let error = Jwk::symmetric(Some("k"), algorithm, &secret(200)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::BadKey);
    }
    let named = |id: &str| Jwk::symmetric(Some(id), Algorithm::Hs256, &secret(32)).is_ok();
    assert!(named(&"k".repeat(256)) && !named(&"k".repeat(257)) && !named(""));
}

#[test]
fn an_issuer_cannot_publish_a_secret() {
    for jwk in [
        json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": b64(secret(32))}),
        json!({"kty": "oct", "kid": "k", "alg": "HS256", "use": "sig", "K": b64(secret(32))}),
        json!({"kty": "OCT", "kid": "k", "alg": "HS256", "k": b64(secret(32))}),
    ] {
        let set = set_of(&[jwk]);
        assert!(set.keys().is_empty());
        let token = token(Algorithm::Hs256, hmac::HMAC_SHA256, &secret(32));
        assert!(verify(&token, &set, &Algorithm::SYMMETRIC).is_err());
    }
}

#[test]
fn a_tag_that_is_cut_off_lengthened_or_zero_does_not_fit() {
    for (algorithm, mac, length) in MACS {
        let good = token(algorithm, mac, &secret(length));
        let (signed, tag) = good.rsplit_once('.').expect("parts");
        let tag = crate::support::unb64(tag);
        let longer = [&tag[..], &[0]].concat();
        for bad in [&tag[..tag.len() - 1], &tag[..1], &[], &longer, &vec![0; tag.len()]] {
            let token = format!("{signed}.{}", b64(bad));
            let refused = verify(&token, &key(algorithm, &secret(length)), &[algorithm]).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::BadSignature);
        }
    }
}

#[test]
fn a_token_cannot_choose_the_secret_where_a_public_key_has_its_id() {
    let public = Key::es256("k");
    let keys = key(Algorithm::Hs256, &secret(32));
    let refused = verify(&public.token(&json!({})), &keys, &Algorithm::ASYMMETRIC).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);
}

#[test]
fn a_secret_is_not_shown() {
    let secret = b"correct horse battery staple, and then some";
    let shown = format!("{:?}", key(Algorithm::Hs256, secret));
    assert!(shown.contains("Hs256") && !shown.contains("horse") && !shown.contains("99, 111"), "{shown}");
}
