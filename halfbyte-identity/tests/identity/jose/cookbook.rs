//! The examples of RFC 7520, RFC 8037 and RFC 7797, as they are published.

use halfbyte_identity::jose::{Algorithm, ErrorKind, Jwk, JwkSet, verify};
use serde_json::{Value, json};

use super::set_of;
use crate::support::{b64, unb64};

const RS256: &str = include_str!("../../data/jose/jws/4_1.rsa_v15_signature.json");
const PS384: &str = include_str!("../../data/jose/jws/4_2.rsa-pss_signature.json");
const ES512: &str = include_str!("../../data/jose/jws/4_3.ecdsa_signature.json");
const HS256: &str = include_str!("../../data/jose/jws/4_4.hmac-sha2_integrity_protection.json");
const DETACHED: &str = include_str!("../../data/jose/jws/4_5.signature_with_detached_content.json");
const SPECIFIC_FIELDS: &str = include_str!("../../data/jose/jws/4_6.protecting_specific_header_fields.json");
const CONTENT_ONLY: &str = include_str!("../../data/jose/jws/4_7.protecting_content_only.json");
const MULTIPLE: &str = include_str!("../../data/jose/jws/4_8.multiple_signatures.json");
const ED25519: &str = include_str!("../../data/jose/curve25519/jws.json");
const UNENCODED: &str = include_str!("../../data/jose/rfc7797/4.2.hmac-sha2_b64_false.json");
const UNENCODED_COMPACT: &str = include_str!("../../data/jose/rfc7797/hmac-sha2_b64_false.json");

const EC_PUBLIC: &str = include_str!("../../data/jose/jwk/3_1.ec_public_key.json");
const EC_PRIVATE: &str = include_str!("../../data/jose/jwk/3_2.ec_private_key.json");
const RSA_PUBLIC: &str = include_str!("../../data/jose/jwk/3_3.rsa_public_key.json");
const RSA_PRIVATE: &str = include_str!("../../data/jose/jwk/3_4.rsa_private_key.json");
const SYMMETRIC_MAC: &str = include_str!("../../data/jose/jwk/3_5.symmetric_key_mac_computation.json");
const SYMMETRIC_ENCRYPTION: &str = include_str!("../../data/jose/jwk/3_6.symmetric_key_encryption.json");

fn read(example: &str) -> Value {
    serde_json::from_str(example).expect("JSON")
}

fn text<'a>(example: &'a Value, pointer: &str) -> &'a str {
    example.pointer(pointer).and_then(Value::as_str).expect(pointer)
}

/// The secret of an example, as it would be configured.
fn secret_of(example: &Value) -> JwkSet {
    let id = example.pointer("/input/key/kid").and_then(Value::as_str);
    let secret = unb64(text(example, "/input/key/k"));
    [Jwk::symmetric(id, Algorithm::Hs256, &secret).expect("long enough")].into_iter().collect()
}

#[track_caller]
fn assert_verifies(example: &Value, keys: &JwkSet, algorithm: Algorithm) {
    let verified = verify(text(example, "/output/compact"), keys, &[algorithm]).expect("verified");
    assert_eq!(verified.header.algorithm, algorithm);
    assert_eq!(verified.header.key_id.as_deref(), example.pointer("/input/key/kid").and_then(Value::as_str));
    assert_eq!(String::from_utf8(verified.payload).expect("text"), text(example, "/input/payload"));
}

#[test]
fn the_rsa_examples_of_sections_4_1_and_4_2_verify_with_the_key_of_3_3() {
    assert_verifies(&read(RS256), &set_of(&[read(RSA_PUBLIC)]), Algorithm::Rs256);
    let mut for_pss = read(RSA_PUBLIC);
    for_pss["alg"] = json!("PS384");
    assert_verifies(&read(PS384), &set_of(&[for_pss]), Algorithm::Ps384);
}

#[test]
fn the_ecdsa_example_of_section_4_3_verifies_with_the_key_of_3_1() {
    assert_verifies(&read(ES512), &set_of(&[read(EC_PUBLIC)]), Algorithm::Es512);
}

#[test]
fn the_hmac_example_of_section_4_4_verifies_with_its_secret() {
    let example = read(HS256);
    assert_verifies(&example, &secret_of(&example), Algorithm::Hs256);
}

#[test]
fn the_ed25519_example_of_rfc_8037_verifies_with_the_public_half_of_its_key() {
    let example = read(ED25519);
    let mut key = example["input"]["key"].clone();
    key.as_object_mut().expect("an object").remove("d");
    assert_verifies(&example, &set_of(&[key]), Algorithm::EdDsa);
}

#[test]
fn the_pss_example_is_not_one_for_a_key_that_names_no_algorithm() {
    let token = read(PS384);
    let refused = verify(text(&token, "/output/compact"), &set_of(&[read(RSA_PUBLIC)]), &Algorithm::ASYMMETRIC);
    assert_eq!(refused.expect_err("refused").kind(), ErrorKind::NotAllowed);
}

#[test]
fn private_and_symmetric_keys_of_the_examples_are_rejected() {
    for key in [EC_PRIVATE, RSA_PRIVATE, SYMMETRIC_MAC, SYMMETRIC_ENCRYPTION] {
        let set = set_of(&[read(key), read(EC_PUBLIC)]);
        assert_eq!((set.keys().len(), set.rejected().len()), (1, 1));
        assert_eq!(set.rejected()[0].reason, "a private or symmetric key is published");
        assert_eq!(set.rejected()[0].key_id.as_deref(), read(key)["kid"].as_str());
    }
}

#[test]
fn the_detached_example_of_section_4_5_does_not_fit_without_its_payload() {
    let example = read(DETACHED);
    let keys = secret_of(&example);
    let compact = text(&example, "/output/compact");
    assert_eq!(verify(compact, &keys, &[Algorithm::Hs256]).expect_err("refused").kind(), ErrorKind::BadSignature);
    // With the payload put in its place it is a token like any other.
    let whole = compact.replace("..", &format!(".{}.", b64(text(&example, "/input/payload"))));
    assert!(verify(&whole, &keys, &[Algorithm::Hs256]).is_ok());
}

#[test]
fn the_json_serializations_are_no_tokens() {
    for example in [RS256, PS384, ES512, HS256, DETACHED, SPECIFIC_FIELDS, CONTENT_ONLY, MULTIPLE, ED25519, UNENCODED] {
        let example = read(example);
        for form in ["json", "json_flat"] {
            let Some(serialized) = example["output"].get(form) else { continue };
            let keys = set_of(&[read(EC_PUBLIC), read(RSA_PUBLIC)]);
            let refused = verify(&serialized.to_string(), &keys, &Algorithm::ASYMMETRIC).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::Malformed);
        }
    }
    assert!(read(MULTIPLE)["output"].get("json").is_some(), "else the test shows nothing");
}

#[test]
fn the_unencoded_payloads_of_rfc_7797_are_refused_although_key_and_tag_are_theirs() {
    let example = read(UNENCODED_COMPACT);
    let refused = verify(text(&example, "/output/compact"), &secret_of(&example), &[Algorithm::Hs256]);
    assert_eq!(refused.expect_err("refused").kind(), ErrorKind::NotAllowed);

    let example = read(UNENCODED);
    let part = |name: &str| text(&example, &format!("/output/json_flat/{name}")).to_owned();
    let (protected, payload, signature) = (part("protected"), part("payload"), part("signature"));
    for (payload, kind) in [(b64(&payload), ErrorKind::NotAllowed), (payload, ErrorKind::Malformed)] {
        let token = format!("{protected}.{payload}.{signature}");
        let refused = verify(&token, &secret_of(&example), &[Algorithm::Hs256]).expect_err("refused");
        assert_eq!(refused.kind(), kind, "{token}");
    }
}
