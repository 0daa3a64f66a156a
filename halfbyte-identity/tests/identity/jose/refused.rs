use aws_lc_rs::hmac;
use halfbyte_identity::jose::{Algorithm, ErrorKind, MAX_TOKEN, verify};
use serde_json::json;

use super::{NAMES, check, refusal, set_of};
use crate::support::{Key, b64, unb64};

const GOOD: &str = r#"{"alg":"ES256","kid":"k"}"#;

/// Each header is in a token with a good signature of the right key: the header alone is why it is refused.
#[test]
fn each_header_that_asks_for_more_or_less_than_a_plain_signature_is_refused() {
    use ErrorKind::{Malformed, NotAllowed};
    let long = "k".repeat(257);
    let table = [
        (r#"{"alg":"none","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"none"}"#, NotAllowed),
        (r#"{"alg":"none ","kid":"k"}"#, NotAllowed),
        (r#"{"alg":" none","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"n\u006fne","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"None","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"NONE","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"nOnE","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"es256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES256 ","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES256K","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"HS256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"HS512","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"HS384","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"hs256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES384","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES512","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"PS256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"Ed25519","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"eddsa","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES256\u0000","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"RSA-OAEP","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"RS256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"EdDSA","kid":"k"}"#, NotAllowed),
        (r#"{"kid":"k"}"#, Malformed),
        (r#"{"alg":null,"kid":"k"}"#, Malformed),
        (r#"{"alg":["ES256"],"kid":"k"}"#, Malformed),
        (r#"{"alg":256,"kid":"k"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"],"exp":1}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":[]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":["crit"]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":["alg","kid"]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":null}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":"exp"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":{}}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","crit":false}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","\u0063rit":["exp"]}"#, NotAllowed),
        (r#"{"crit":["exp"],"alg":"ES256","kid":"k"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","b64":false,"crit":["b64"]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","b64":false}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","b64":null}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","b64":true}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","jwk":{"kty":"EC"}}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","jwk":null}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","\u006awk":{}}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","jku":"https://evil.example"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","jku":null}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","x5u":null}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","x5c":[]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","x5u":"https://evil.example"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","x5c":["MII="]}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","enc":"A128GCM"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","zip":"DEF"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"JWT"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"jwt"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"JwT"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"Application/JWT"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"at+jwt"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"JOSE"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":"jose+json"}"#, NotAllowed),
        (r#"{"alg":"ES256","kid":"k","cty":["JWT"]}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","cty":null}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","cty":"a","cty":"a"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","crit":[],"crit":[]}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","typ":"jwt","typ":"jwt"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x":1,"y":2,"x":1}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x":1e999}"#, Malformed),
        (r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#, Malformed),
        (r#"{"alg":"ES256","\u0061lg":"none","kid":"k"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","\u006bid":"other"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x":{"a":1,"a":2}}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x":[[{"a":1,"\u0061":2}]]}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k"} "x""#, Malformed),
        (r#"{"alg":"ES256","kid":"k"}{}"#, Malformed),
        (r#"[{"alg":"ES256","kid":"k"}]"#, Malformed),
        (r#""ES256""#, Malformed),
        ("null", Malformed),
        ("7", Malformed),
        ("[]", Malformed),
        ("{}", Malformed),
        ("{\"alg\":\"ES256\",\"kid\":\"k\"}\0", Malformed),
        ("", Malformed),
        (r#"{"alg":"ES256","kid":7}"#, Malformed),
        (r#"{"alg":"ES256","kid":null}"#, Malformed),
        (r#"{"alg":"ES256","kid":["k"]}"#, Malformed),
        (r#"{"alg":"ES256","kid":{"k":"k"}}"#, Malformed),
        (r#"{"alg":"ES256","kid":true}"#, Malformed),
        (r#"{"alg":"ES256","kid":""}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","typ":7}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","typ":null}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x5t":7}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","x5t#S256":null}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","nonce":{}}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","url":[]}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k","typ":["at+jwt"]}"#, Malformed),
        (r#"{"alg":"ES256","kid":"\ud800"}"#, Malformed),
        (r#"{"alg":"ES256","kid":"k",}"#, Malformed),
        ("\u{feff}{\"alg\":\"ES256\",\"kid\":\"k\"}", Malformed),
        (&format!(r#"{{"alg":"ES256","kid":"{long}"}}"#), Malformed),
    ];
    let key = Key::es256("k");
    assert!(check(&key.token_of(GOOD, "{}"), &key).is_ok());
    for (header, kind) in table {
        assert_eq!(refusal(&key.token_of(header, "{}"), &key), kind, "{header}");
    }
}

/// A list that is read from its start would see the names in it one by one; a set of many names must hold as few.
#[test]
fn a_duplicate_among_very_many_members_of_a_header_is_refused() {
    let key = Key::es256("k");
    let others: Vec<_> = (0..300).map(|number| format!(r#""m{number}":{number}"#)).collect();
    let many = format!("{},{}}}", GOOD.trim_end_matches('}'), others.join(","));
    assert!(check(&key.token_of(&many, "{}"), &key).is_ok());
    for again in ["m0", "m24", "m299", "alg", "kid", r"\u006d7"] {
        let twice = format!(r#"{},"{again}":"ES256"}}"#, many.trim_end_matches('}'));
        assert_eq!(refusal(&key.token_of(&twice, "{}"), &key), ErrorKind::Malformed, "{again}");
    }
}

#[test]
fn a_header_nested_without_end_is_refused_and_does_not_overflow_the_stack() {
    let key = Key::es256("k");
    let deep = format!(r#"{},"x":{}{}}}"#, GOOD.trim_end_matches('}'), "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(refusal(&key.token_of(&deep, "{}"), &key), ErrorKind::Malformed);
}

#[test]
fn bytes_that_are_no_text_are_no_header() {
    let key = Key::es256("k");
    let token = key.token_of_parts(&b64(b"{\"alg\":\"ES256\",\"kid\":\"k\",\"x\":\"\xff\"}"), &b64("{}"));
    assert_eq!(refusal(&token, &key), ErrorKind::Malformed);
}

#[test]
fn a_content_type_that_is_no_token_is_no_reason_to_refuse() {
    let key = Key::es256("k");
    let token = key.token_of(r#"{"alg":"ES256","kid":"k","cty":"text/plain","x5t":"x","iat":1}"#, "{}");
    assert!(check(&token, &key).is_ok());
}

#[test]
fn a_key_id_of_the_longest_length_is_still_read() {
    let key = Key::es256(&"k".repeat(256));
    assert!(check(&key.token(&json!({})), &key).is_ok());
}

#[test]
fn a_public_key_used_as_a_shared_secret_signs_nothing() {
    for alg in ["ES256", "ES512", "RS256", "EdDSA"] {
        let key = Key::new(alg, "k");
        let secrets = [key.public_bytes(), key.jwk().to_string().into_bytes()];
        for secret in secrets {
            let signed = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"k"}"#), b64("{}"));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", b64(tag));
            assert_eq!(refusal(&token, &key), ErrorKind::NotAllowed);
            // Even where symmetric keys are allowed, the key is none.
            let refused = verify(&token, &set_of(&[key.jwk()]), &Algorithm::SYMMETRIC).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::NotAllowed);
            // The same tag under the key's own algorithm.
            let signed = format!("{}.{}", b64(key.header().to_string()), b64("{}"));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            assert_eq!(refusal(&format!("{signed}.{}", b64(tag)), &key), ErrorKind::BadSignature);
        }
    }
}

#[test]
fn anything_but_three_parts_is_malformed() {
    let key = Key::es256("k");
    let good = key.token_of(GOOD, "{}");
    let (signed, signature) = good.rsplit_once('.').expect("parts");
    let (header, payload) = signed.split_once('.').expect("parts");
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "....".into(),
        header.to_owned(),
        signed.to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}..{payload}.{signature}"),
        format!("{good}.{signature}"),
        // The five parts of an encrypted token.
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!(".{payload}.{signature}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
    ] {
        assert_eq!(refusal(&token, &key), ErrorKind::Malformed, "{token:?}");
    }
    for (token, kind) in [
        // What RFC 7515, appendix F, calls detached: the payload would come from elsewhere.
        (format!("{header}..{signature}"), ErrorKind::BadSignature),
        (format!("{header}.{payload}."), ErrorKind::BadSignature),
    ] {
        assert_eq!(refusal(&token, &key), kind, "{token:?}");
    }
}

/// The signature is made over the odd spelling: it is good, and the spelling alone is why the token is refused.
#[test]
fn a_second_spelling_of_the_same_bytes_is_refused_in_each_part() {
    let key = Key::es256("k");
    let header = format!(r#"{GOOD} "#);
    let (head, payload) = (b64(&header), b64(r#"{"a":1}"#));
    assert_eq!((head.len() % 4, payload.len() % 4), (3, 2), "both have bits to spare");
    let flip_last = |part: &str| {
        let (rest, last) = part.split_at(part.len() - 1);
        let next = char::from(last.as_bytes()[0] + 1);
        format!("{rest}{next}")
    };
    assert!(check(&key.token_of_parts(&head, &payload), &key).is_ok());
    for (head, payload) in [
        (format!("{head}="), payload.clone()),
        (head.clone(), format!("{payload}==")),
        (flip_last(&head), payload.clone()),
        (head.clone(), flip_last(&payload)),
        (format!("{head}\r\n"), payload.clone()),
        (format!("{} {}", &head[..4], &head[4..]), payload.clone()),
        (head.clone(), format!("{} {}", &payload[..4], &payload[4..])),
        (head.clone(), format!("{payload}AAA")),
        (head.clone(), "e30+".into()),
        (head.clone(), "e3/0".into()),
        (head.clone(), "é".into()),
    ] {
        let token = key.token_of_parts(&head, &payload);
        assert_eq!(refusal(&token, &key), ErrorKind::Malformed, "{head} {payload}");
    }
    let good = key.token_of_parts(&head, &payload);
    for token in [format!("{good}=="), flip_last(&good), format!("{good}AA\n")] {
        assert_eq!(refusal(&token, &key), ErrorKind::Malformed, "{token}");
    }
}

#[test]
fn a_signature_that_is_not_exactly_one_does_not_fit() {
    for alg in NAMES {
        let key = Key::new(alg, "k");
        let good = key.token(&json!({}));
        let (signed, signature) = good.rsplit_once('.').expect("parts");
        let signature = unb64(signature);
        let zeros = vec![0; signature.len()];
        let mut longer = signature.clone();
        longer.push(0);
        let mut earlier = signature.clone();
        earlier.insert(0, 0);
        let huge = vec![0xff; 4096];
        for bad in [&zeros, &longer, &earlier, &signature[1..].to_vec(), &signature[..1].to_vec(), &Vec::new(), &huge] {
            assert_eq!(refusal(&format!("{signed}.{}", b64(bad)), &key), ErrorKind::BadSignature, "{alg}");
        }
        assert_eq!(
            refusal(&format!("{signed}.{}", b64(&signature[..signature.len() - 1])), &key),
            ErrorKind::BadSignature
        );
    }
}

/// Two signatures of the same message, and one that goes on where the buffer ends.
#[test]
fn an_oversized_signature_does_not_fit() {
    for alg in NAMES {
        let key = Key::new(alg, "k");
        let good = key.token(&json!({}));
        let (signed, signature) = good.rsplit_once('.').expect("parts");
        let twice = unb64(signature).repeat(2);
        for bad in [&twice, &vec![1; 1024], &vec![1; 1025], &vec![1; 1026], &vec![1; 1032], &vec![1; 10_000]] {
            assert_eq!(refusal(&format!("{signed}.{}", b64(bad)), &key), ErrorKind::BadSignature, "{alg}");
        }
    }
}

#[test]
fn an_ecdsa_signature_in_der_is_not_one_of_jose() {
    let key = Key::es256("k");
    let signed = format!("{}.{}", b64(GOOD), b64("{}"));
    let der = key.sign_der(signed.as_bytes());
    assert_eq!(refusal(&format!("{signed}.{}", b64(der)), &key), ErrorKind::BadSignature);
}

#[test]
fn a_signature_with_r_or_s_of_zero_or_of_the_order_is_refused() {
    let key = Key::es256("k");
    let signed = format!("{}.{}", b64(GOOD), b64("{}"));
    let order = unb64("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE");
    let (zero, one) = ([0; 32], [[0; 31].as_slice(), &[1]].concat());
    for (r, s) in [(&zero[..], &one[..]), (&one, &zero), (&order, &one), (&one, &order), (&order, &order)] {
        let token = format!("{signed}.{}", b64([r, s].concat()));
        assert_eq!(refusal(&token, &key), ErrorKind::BadSignature);
    }
}

#[test]
fn a_token_over_the_limit_is_not_looked_at() {
    let key = Key::es256("k");
    let of_payload = |size: usize| key.token_of(GOOD, &"x".repeat(size));
    let fits = (0..MAX_TOKEN).rev().map(|size| size * 3 / 4).find(|size| of_payload(*size).len() <= MAX_TOKEN);
    let fits = fits.expect("some size fits");
    assert!(check(&of_payload(fits), &key).is_ok());
    assert_eq!(refusal(&of_payload(fits + 3), &key), ErrorKind::Malformed);
    assert_eq!(refusal(&"x".repeat(10 << 20), &key), ErrorKind::Malformed);
}
