//! `verify`: no input makes it panic, and what it accepts an independent verifier accepts, with the same payload.
//!
//! An input is a token, or a header and a payload on two lines, which are signed here: no fuzzer makes a signature.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte_identity::jose::{Algorithm, Jwk, JwkSet, Object, Verified, parse_object, verify};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The key of RFC 8037, A.1, which everybody knows.
const ED_PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// The keys of RFC 7520, 3.3, 3.1 and 3.5.
const RSA_MODULUS: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMa\
                           JMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6c\
                           S6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwd\
                           q_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
const EC_X: &str = "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt";
const EC_Y: &str = "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1";
const SECRET: &str = "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg";

static PUBLIC: LazyLock<JwkSet> = LazyLock::new(|| {
    let set = serde_json::json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": ED_PUBLIC, "kid": "ed"},
        {"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "kid": "bilbo.baggins@hobbiton.example"},
        {"kty": "EC", "crv": "P-521", "x": EC_X, "y": EC_Y, "kid": "bilbo.baggins@hobbiton.example"},
    ]});
    let set = JwkSet::parse(set.to_string().as_bytes()).expect("a set");
    assert_eq!(set.keys().len(), 3);
    set
});

static SECRETS: LazyLock<JwkSet> = LazyLock::new(|| {
    let key = |id| Jwk::symmetric(Some(id), Algorithm::Hs256, &unb64(SECRET)).expect("long enough");
    ["hs", "018c0ae5-4d9b-471b-bfd6-eef314bc7037"].into_iter().map(key).collect()
});

static ED_PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_and_public_key(&unb64(ED_PRIVATE), &unb64(ED_PUBLIC)).expect("a pair"));

fuzz_target!(|input: &str| {
    compare(input);
    if let Some((header, payload)) = input.split_once('\n') {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &unb64(SECRET)), signed.as_bytes());
        compare(&format!("{signed}.{}", b64(tag)));
        compare(&format!("{signed}.{}", b64(ED_PAIR.sign(signed.as_bytes()))));
    }
});

fn compare(token: &str) {
    assert!(verify(token, &SECRETS, &Algorithm::ASYMMETRIC).is_err(), "no secret is for an asymmetric algorithm");
    assert!(verify(token, &PUBLIC, &Algorithm::SYMMETRIC).is_err(), "no public key is a secret");
    for (keys, allowed) in [(&*PUBLIC, &Algorithm::ASYMMETRIC[..]), (&SECRETS, &Algorithm::SYMMETRIC)] {
        if let Ok(verified) = verify(token, keys, allowed) {
            check_accepted(token, &verified);
        }
    }
}

fn check_accepted(token: &str, verified: &Verified) {
    assert_eq!(token.split('.').nth(1), Some(&*b64(&verified.payload)), "a payload has one spelling");
    let (key, algorithm) = match verified.header.algorithm {
        Algorithm::EdDsa => (DecodingKey::from_ed_components(ED_PUBLIC), jsonwebtoken::Algorithm::EdDSA),
        Algorithm::Rs256 => (DecodingKey::from_rsa_components(RSA_MODULUS, "AQAB"), jsonwebtoken::Algorithm::RS256),
        Algorithm::Hs256 => (Ok(DecodingKey::from_secret(&unb64(SECRET))), jsonwebtoken::Algorithm::HS256),
        // They do not have it.
        Algorithm::Es512 => return,
        other => panic!("no key is for {other}"),
    };
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud, validation.validate_nbf) = (false, false, false);
    let key = key.expect("a key");
    // They read payloads that are JSON objects only, as our callers do.
    match parse_object(&verified.payload) {
        Ok(ours) if they_can_read(&ours) => {
            let theirs = decode::<Value>(token, &key, &validation).expect("they accept what we accept");
            assert_eq!(Value::Object(ours), theirs.claims);
        }
        _ => {
            let (signed, signature) = token.rsplit_once('.').expect("two dots");
            assert!(decode_header(token).is_ok(), "they read each header that we read");
            let verified = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, algorithm);
            assert!(verified.expect("read"), "they verify what we verify");
        }
    }
}

/// Where an array or an object stands for one of these, they lose their place in the JSON.
fn they_can_read(claims: &Object) -> bool {
    ["exp", "nbf", "sub", "iss", "aud"]
        .iter()
        .all(|name| !matches!(claims.get(*name), Some(Value::Array(_) | Value::Object(_))))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}
