use halfbyte_identity::jose::{Algorithm, ErrorKind, verify};
use serde_json::json;

use super::{NAMES, check, refusal, set_of};
use crate::support::Key;

#[test]
fn a_token_of_each_algorithm_is_accepted_by_its_own_key_and_read_as_it_was_signed() {
    for alg in NAMES {
        let key = Key::new(alg, "k");
        let verified = check(&key.token(&json!({"sub": "ann"})), &key).expect(alg);
        assert_eq!(verified.header.algorithm.as_str(), alg);
        assert_eq!(verified.header.key_id.as_deref(), Some("k"));
        assert_eq!(verified.header.media_type.as_deref(), Some("at+jwt"));
        assert_eq!(verified.payload, br#"{"sub":"ann"}"#);
    }
}

#[test]
fn a_token_is_refused_by_every_other_key_of_its_own_algorithm() {
    for alg in ["ES256", "ES384", "ES512", "EdDSA"] {
        let (signer, other) = (Key::new(alg, "k"), Key::new(alg, "k"));
        assert_eq!(refusal(&signer.token(&json!({})), &other), ErrorKind::BadSignature, "{alg}");
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_although_key_and_signature_are_good() {
    for alg in NAMES {
        let key = Key::new(alg, "k");
        let all = Algorithm::ASYMMETRIC.into_iter().chain(Algorithm::SYMMETRIC);
        let others: Vec<_> = all.filter(|other| other.as_str() != alg).collect();
        let token = key.token(&json!({}));
        let refused = verify(&token, &set_of(&[key.jwk()]), &others).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::NotAllowed, "{alg}");
        assert!(verify(&token, &set_of(&[key.jwk()]), &[]).is_err(), "nothing is allowed");
    }
}

#[test]
fn an_rsa_key_verifies_by_its_one_algorithm_and_by_none_of_the_others() {
    let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    for signed_by in names {
        for published_for in names {
            let token = Key::new(signed_by, "k").token(&json!({}));
            let outcome = check(&token, &Key::new(published_for, "k"));
            match outcome {
                Ok(_) => assert_eq!(signed_by, published_for),
                Err(error) => {
                    assert_ne!(signed_by, published_for);
                    assert_eq!(error.kind(), ErrorKind::NotAllowed, "{signed_by} with a key for {published_for}");
                }
            }
        }
    }
}

#[test]
fn an_rsa_key_that_names_no_algorithm_is_for_rs256_alone() {
    let mut jwk = Key::new("RS256", "k").jwk();
    jwk.as_object_mut().expect("an object").remove("alg");
    let keys = set_of(&[jwk]);
    assert!(verify(&Key::new("RS256", "k").token(&json!({})), &keys, &Algorithm::ASYMMETRIC).is_ok());
    let refused =
        verify(&Key::new("PS256", "k").token(&json!({})), &keys, &Algorithm::ASYMMETRIC).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::NotAllowed);
}

#[test]
fn a_token_without_a_key_id_is_accepted_only_where_one_key_fits() {
    let (one, two, rsa) = (Key::es256("1"), Key::es256("2"), Key::new("RS256", "3"));
    let token = one.token_of(r#"{"alg":"ES256"}"#, "{}");
    assert!(verify(&token, &set_of(&[one.jwk(), rsa.jwk()]), &Algorithm::ASYMMETRIC).is_ok());
    for keys in [set_of(&[one.jwk(), two.jwk()]), set_of(&[rsa.jwk()]), set_of(&[])] {
        let refused = verify(&token, &keys, &Algorithm::ASYMMETRIC).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::UnknownKey);
    }
}

#[test]
fn of_two_keys_with_one_id_the_algorithm_decides_and_then_the_order_and_none_is_tried_out() {
    let (first, second, rsa) = (Key::es256("k"), Key::es256("k"), Key::new("RS256", "k"));
    let keys = set_of(&[rsa.jwk(), first.jwk(), second.jwk()]);
    assert_eq!(keys.keys().len(), 2);
    assert_eq!(keys.rejected()[0].key_id.as_deref(), Some("k"));
    assert_eq!(keys.rejected()[0].reason, "an earlier key has its id and algorithm");
    assert!(verify(&rsa.token(&json!({})), &keys, &Algorithm::ASYMMETRIC).is_ok());
    assert!(verify(&first.token(&json!({})), &keys, &Algorithm::ASYMMETRIC).is_ok());
    let refused = verify(&second.token(&json!({})), &keys, &Algorithm::ASYMMETRIC).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::BadSignature);
}

#[test]
fn an_unknown_key_id_is_told_apart_from_a_bad_signature_so_that_keys_can_be_refreshed() {
    let (known, unknown) = (Key::es256("known"), Key::es256("unknown"));
    assert_eq!(refusal(&unknown.token(&json!({})), &known), ErrorKind::UnknownKey);
}

#[test]
fn the_media_type_is_read_without_case_and_without_its_prefix() {
    let key = Key::es256("k");
    for (typ, read) in [("AT+JWT", "at+jwt"), ("application/at+jwt", "at+jwt"), ("Application/JWT", "jwt")] {
        let header = json!({"alg": "ES256", "kid": "k", "typ": typ}).to_string();
        let verified = check(&key.token_of(&header, "{}"), &key).expect(typ);
        assert_eq!(verified.header.media_type.as_deref(), Some(read));
    }
}

#[test]
fn the_payload_is_given_as_it_was_signed_whatever_it_is() {
    let key = Key::es256("k");
    let token = key.token_of(&key.header().to_string(), "not JSON at all");
    assert_eq!(check(&token, &key).expect("verified").payload, b"not JSON at all");
}
