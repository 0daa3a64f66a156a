//! What RFC 9449 asks of one who checks a proof, sentence by sentence.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use halfbyte_core::problem::{Context, Kind};
use http_body_util::{BodyExt as _, Empty};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::holder::{Holder, NOW, TOKEN, assert_refused, at, ath, b64, claims, headers, proofs, send, with, without};
use super::*;
use crate::jose::Algorithm;

#[test]
fn a_good_proof_is_accepted_by_every_algorithm_that_is_advertised() {
    for alg in ["ES256", "ES384", "EdDSA", "PS256", "RS256"] {
        let holder = Holder::new(alg);
        assert_eq!(send(&proofs(false), &holder, &holder.proof(&claims()), NOW), Ok(None), "{alg}");
        assert!(ALGORITHMS.split(' ').any(|known| known == alg));
    }
    assert_eq!(ALGORITHMS.split(' ').count(), 5);
    assert!(ALGORITHMS.split(' ').all(|alg| Algorithm::from_name(alg).is_some()));
}

#[test]
fn the_example_of_rfc_9449_is_accepted_where_and_when_it_was_made() {
    const PROOF: &str = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo",
        "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19",
        ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRy",
        "ZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9",
        ".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    );
    const ACCESS_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let bound_to = decode("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").expect("base64url");
    let bound_to = bound_to.try_into().expect("32 bytes");
    let made = at(1_562_262_618);
    let check = |host: &str, path, token, now| {
        let proofs = Proofs::new(&host.parse().expect("a URL"), false, None).expect("made");
        proofs.check(&Method::GET, path, &headers(&[PROOF]), token, &bound_to, now)
    };
    let host = "https://resource.example.org";
    assert_eq!(check(host, "/protectedresource", ACCESS_TOKEN, made), Ok(None));
    for (result, fault) in [
        (check("https://server.example.com", "/protectedresource", ACCESS_TOKEN, made), Fault::Target),
        (check(host, "/other", ACCESS_TOKEN, made), Fault::Target),
        (check(host, "/protectedresource", "another token", made), Fault::Token),
        (check(host, "/protectedresource", ACCESS_TOKEN, made + SignedDuration::from_secs(61)), Fault::Time),
    ] {
        assert_refused(result, fault, &fault.detail());
    }
}

#[test]
fn the_example_for_a_token_endpoint_is_refused_for_it_has_no_hash_of_an_access_token() {
    const PROOF: &str = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo",
        "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19",
        ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi",
        "aWF0IjoxNTYyMjYyNjE2fQ",
        ".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
    );
    let proof = Proof::parse(PROOF.as_bytes()).expect("a proof");
    assert!(proof.verify().is_ok());
    let bound_to = thumbprint(proof.key()).expect("a key");
    let proofs = Proofs::new(&"https://server.example.com".parse().expect("a URL"), false, None).expect("made");
    let result = proofs.check(&Method::POST, "/token", &headers(&[PROOF]), TOKEN, &bound_to, at(1_562_262_616));
    assert_refused(result, Fault::Form("the DPoP proof lacks one of jti, htm, htu, ath"), &"no ath");
}

#[test]
fn exactly_one_proof_is_sent() {
    let (proofs, holder) = (proofs(false), Holder::new("ES256"));
    let (one, other) = (holder.proof(&claims()), holder.proof(&with("jti", json!("other"))));
    let check =
        |values: &[&str]| proofs.check(&Method::GET, "/labels", &headers(values), TOKEN, &holder.thumbprint(), at(NOW));
    let none = Fault::Form("the DPoP proof is not one signed JWT");
    assert_refused(check(&[]), Fault::Missing, &"none");
    assert_refused(check(&[&one, &other]), Fault::Several, &"two");
    assert_refused(check(&[&one, &one]), Fault::Several, &"twice");
    assert_refused(check(&[&format!("{one}, {other}")]), none, &"two in one");
    assert_refused(check(&[""]), none, &"empty");
    assert_eq!(check(&[&one]), Ok(None));
}

#[test]
fn a_proof_has_the_form_of_a_signed_jwt_and_an_end() {
    let holder = Holder::new("ES256");
    let good = holder.proof(&claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, payload) = signed.split_once('.').expect("three parts");
    let form = Fault::Form("the DPoP proof is not one signed JWT");
    for bad in [
        "x",
        "..",
        signed,
        &format!("{signed}."),
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.{signature}"),
        &format!("{good}="),
        &format!("{header}=.{payload}.{signature}"),
        &format!("{header}..{signature}"),
        &format!(".{payload}.{signature}"),
        &format!("{header} .{payload}.{signature}"),
        &format!("{good} "),
        &format!("DPoP {good}"),
        &holder.proof_of("[]", &claims().to_string()),
        &holder.proof_of(&holder.header().to_string(), "[]"),
        &holder.proof_of(&holder.header().to_string(), &format!("{}x", claims())),
        &holder.proof_of(&holder.header().to_string(), &claims().to_string().replacen('{', "{\"jti\":\"x\",", 1)),
        &holder.proof_of(&holder.header().to_string().replacen('{', "{\"alg\":\"none\",", 1), &claims().to_string()),
        &holder.proof_of(
            &holder.header().to_string().replace("\"kty\"", "\"kty\":\"RSA\",\"kty\""),
            &claims().to_string(),
        ),
    ] {
        // An empty signature is well-formed base64url, of no bytes.
        let fault = if bad == format!("{signed}.") { Fault::Signature } else { form };
        assert_refused(send(&proofs(false), &holder, bad, NOW), fault, &bad);
    }
}

#[test]
fn a_proof_of_8_kib_is_read_and_a_longer_one_is_not() {
    let holder = Holder::new("ES256");
    let proof = |length: usize| holder.proof(&with("more", json!("x".repeat(length))));
    let most = (0..proof::MAX_PROOF).rev().find(|length| length.div_ceil(3) * 4 + proof(0).len() <= proof::MAX_PROOF);
    let fits = proof(most.expect("some"));
    assert!((proof::MAX_PROOF - 8..=proof::MAX_PROOF).contains(&fits.len()), "{}", fits.len());
    assert_eq!(send(&proofs(false), &holder, &fits, NOW), Ok(None));
    let too_long = proof(most.expect("some") + 12);
    let fault = Fault::Form("the DPoP proof is longer than 8 KiB");
    assert_refused(send(&proofs(false), &holder, &too_long, NOW), fault, &too_long.len());
}

#[test]
fn a_header_that_asks_for_more_than_a_proof_is_or_less_is_refused() {
    let holder = Holder::new("ES256");
    let send = |name: &str, value: Option<Value>| {
        let mut header = holder.header();
        match value {
            Some(value) => header[name] = value,
            None => drop(header.as_object_mut().expect("an object").remove(name)),
        }
        send(&proofs(false), &holder, &holder.proof_of(&header.to_string(), &claims().to_string()), NOW)
    };
    let extension = Fault::Form("the header of the DPoP proof asks for an extension");
    let another_key = Fault::Form("the header of the DPoP proof names a key besides jwk");
    let typ = Fault::Form("the typ of the DPoP proof is not dpop+jwt");
    let alg = Fault::Form("the alg of the DPoP proof is not one that is accepted here");
    let no_jwk = Fault::Form("the DPoP proof has no jwk");
    for (name, value, fault) in [
        ("crit", Some(json!(["exp"])), extension),
        ("crit", Some(json!([])), extension),
        ("b64", Some(json!(false)), extension),
        ("b64", Some(json!(true)), extension),
        ("jku", Some(json!("https://evil")), another_key),
        ("x5u", Some(json!("https://evil")), another_key),
        ("x5c", Some(json!([])), another_key),
        ("typ", None, typ),
        ("typ", Some(json!("JWT")), typ),
        ("typ", Some(json!("at+jwt")), typ),
        ("typ", Some(json!("application/dpop+jwt")), typ),
        ("typ", Some(json!("dpop+jwt ")), typ),
        ("typ", Some(json!(["dpop+jwt"])), typ),
        ("alg", None, alg),
        ("alg", Some(json!("none")), alg),
        ("alg", Some(json!("HS256")), alg),
        ("alg", Some(json!("es256")), alg),
        ("alg", Some(json!("ES256 ES384")), alg),
        ("alg", Some(json!("RS512")), alg),
        ("alg", Some(json!("")), alg),
        ("alg", Some(json!(["ES256"])), alg),
        ("jwk", None, no_jwk),
        ("jwk", Some(json!(null)), no_jwk),
        ("jwk", Some(json!([holder.jwk()])), no_jwk),
        ("jwk", Some(json!(holder.jwk().to_string())), no_jwk),
    ] {
        let why = format!("{name} {value:?}");
        assert_refused(send(name, value), fault, &why);
    }
    for (name, value) in [
        ("typ", json!("DPoP+JWT")),
        ("kid", json!("any")),
        ("kid", json!(7)),
        ("unknown", json!({"a": [1]})),
        ("cty", json!("json")),
    ] {
        assert_eq!(send(name, Some(value)), Ok(None), "{name}");
    }
}

#[test]
fn a_key_that_an_issuer_may_not_have_is_no_key_for_a_proof_either() {
    let holder = Holder::new("ES256");
    let send = |name: &str, value: Option<Value>| {
        let mut header = holder.header();
        match value {
            Some(value) => header["jwk"][name] = value,
            None => drop(header["jwk"].as_object_mut().expect("an object").remove(name)),
        }
        send(&proofs(false), &holder, &holder.proof_of(&header.to_string(), &claims().to_string()), NOW)
    };
    for (name, value) in [
        ("d", Some(json!("AAAA"))),
        ("d", Some(json!(null))),
        ("k", Some(json!("AAAA"))),
        ("use", Some(json!("enc"))),
        ("use", Some(json!(["sig"]))),
        ("key_ops", Some(json!(["sign"]))),
        ("key_ops", Some(json!("verify"))),
        ("alg", Some(json!("ES384"))),
        ("alg", Some(json!("HS256"))),
        ("alg", Some(json!(null))),
        ("kty", Some(json!("oct"))),
        ("kty", None),
        ("crv", Some(json!("P-256K"))),
        ("x", None),
        ("y", Some(json!(7))),
    ] {
        let why = format!("{name} {value:?}");
        assert_refused(send(name, value), Fault::Key(""), &why);
    }
    for (name, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("alg", json!("ES256")),
        ("kid", json!("any")),
        ("ext", json!(true)),
    ] {
        assert_eq!(send(name, Some(value)), Ok(None), "{name}");
    }
}

/// Sends a proof whose access token is bound to the very key that it brings, good or not.
fn send_bound_to(jwk: &Value, alg: &str, signature: &[u8]) -> Result<Option<HeaderValue>, Problem> {
    let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": jwk}).to_string();
    let proof = format!("{}.{}.{}", b64(header), b64(claims().to_string()), b64(signature));
    let bound_to = thumbprint(jwk.as_object().expect("an object")).expect("a key");
    proofs(false).check(&Method::GET, "/labels", &headers(&[&proof]), TOKEN, &bound_to, at(NOW))
}

#[test]
fn a_weak_or_impossible_key_is_refused_even_if_the_token_is_bound_to_it() {
    let off_curve = json!({"kty": "EC", "crv": "P-256", "x": b64([1; 32]), "y": b64([1; 32])});
    let anybodys = json!({"kty": "OKP", "crv": "Ed25519", "x": b64([0; 32])});
    let short = json!({"kty": "RSA", "n": b64([0xc1; 128]), "e": "AQAB"});
    let even = json!({"kty": "RSA", "n": b64([0xc2; 256]), "e": "AQAB"});
    for (jwk, alg) in [(off_curve, "ES256"), (anybodys, "EdDSA"), (short, "RS256"), (even, "PS256")] {
        assert_refused(send_bound_to(&jwk, alg, &[0; 64]), Fault::Key(""), &jwk);
    }
}

#[test]
fn an_algorithm_that_is_not_the_keys_is_refused() {
    let (p256, p384, ed, rsa) =
        (Holder::new("ES256"), Holder::new("ES384"), Holder::new("EdDSA"), Holder::new("RS256"));
    for (holder, alg) in [
        (&p256, "ES384"),
        (&p256, "EdDSA"),
        (&p256, "RS256"),
        (&p384, "ES256"),
        (&ed, "ES256"),
        (&ed, "PS256"),
        (&rsa, "ES256"),
        (&rsa, "EdDSA"),
    ] {
        assert_refused(send_bound_to(&holder.jwk(), alg, &[7; 64]), Fault::Key(""), &alg);
    }
}

#[test]
fn a_signature_that_does_not_fit_is_refused_and_nothing_says_why() {
    let holder = Holder::new("ES256");
    let good = holder.proof(&claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let signature = decode(signature).expect("base64url");
    let other = Holder::new("ES256").sign(signed.as_bytes());
    for bad in [&[0; 64][..], &[0xff; 64], &[], &signature[..63], &[&signature[..], &[0]].concat(), &other] {
        let proof = format!("{signed}.{}", b64(bad));
        assert_refused(send(&proofs(false), &holder, &proof, NOW), Fault::Signature, &proof);
    }
    // RSA: the same key, by the other of its algorithms.
    let (pss, pkcs1) = (Holder::new("PS256"), Holder::new("RS256"));
    let proof = pkcs1.proof_of(&pss.header().to_string(), &claims().to_string());
    assert_refused(send(&proofs(false), &pss, &proof, NOW), Fault::Signature, &"PKCS #1 as PSS");
}

#[test]
fn a_proof_by_another_key_than_the_tokens_is_refused() {
    let (holder, thief) = (Holder::new("ES256"), Holder::new("ES256"));
    assert_refused(send(&proofs(false), &holder, &thief.proof(&claims()), NOW), Fault::OtherKey, &"the thief's");
    // With the right key in its header and the wrong one behind its signature.
    let forged = thief.proof_of(&holder.header().to_string(), &claims().to_string());
    assert_refused(send(&proofs(false), &holder, &forged, NOW), Fault::Signature, &"forged");
}

#[test]
fn each_claim_that_is_wrong_is_refused() {
    let holder = Holder::new("ES256");
    let lacks = Fault::Form("the DPoP proof lacks one of jti, htm, htu, ath");
    let no_text = Fault::Form("one of jti, htm, htu, ath, nonce in the DPoP proof is not a string");
    let id = Fault::Form("the jti of the DPoP proof is not one of 1 to 256 bytes");
    let no_time = Fault::Form("a time in the DPoP proof is not a number of seconds");
    let table = [
        (without("jti"), lacks),
        (with("jti", json!("")), id),
        (with("jti", json!("x".repeat(257))), id),
        (with("jti", json!(7)), no_text),
        (with("jti", json!(null)), no_text),
        (without("htm"), lacks),
        (with("htm", json!("POST")), Fault::Method),
        (with("htm", json!("get")), Fault::Method),
        (with("htm", json!("GET ")), Fault::Method),
        (with("htm", json!("")), Fault::Method),
        (with("htm", json!(["GET"])), no_text),
        (without("htu"), lacks),
        (with("htu", json!("https://api.example/other")), Fault::Target),
        (with("htu", json!("https://evil.example/labels")), Fault::Target),
        (with("htu", json!("http://api.example/labels")), Fault::Target),
        (with("htu", json!("/labels")), Fault::Target),
        (with("htu", json!(["https://api.example/labels"])), no_text),
        (without("ath"), lacks),
        (with("ath", json!("")), Fault::Token),
        (with("ath", json!(ath("another token"))), Fault::Token),
        (with("ath", json!(format!("{}=", ath(TOKEN)))), Fault::Token),
        (with("ath", json!(&ath(TOKEN)[..42])), Fault::Token),
        (with("ath", json!(TOKEN)), Fault::Token),
        (with("ath", json!(null)), no_text),
        (without("iat"), Fault::Form("the DPoP proof has no iat")),
        (with("iat", json!(NOW.to_string())), no_time),
        (with("iat", json!(null)), no_time),
        (with("iat", json!(true)), no_time),
        (with("iat", json!(1e300)), no_time),
        (with("iat", json!(u64::MAX)), no_time),
        (with("iat", json!(i64::MIN)), no_time),
        (with("iat", json!(0)), Fault::Time),
        (with("iat", json!(-1)), Fault::Time),
        (with("exp", json!("x")), no_time),
        (with("exp", json!(NOW - LEEWAY)), Fault::Time),
        (with("nbf", json!([])), no_time),
        (with("nbf", json!(NOW + LEEWAY + 1)), Fault::Time),
        (with("nonce", json!(7)), no_text),
        (with("nonce", json!(null)), no_text),
    ];
    for (claims, fault) in table {
        assert_refused(send(&proofs(false), &holder, &holder.proof(&claims), NOW), fault, &claims);
    }
    for claims in [
        with("jti", json!("x".repeat(256))),
        with("htu", json!("HTTPS://API.example:443/x/../%6Cabels?page=2#top")),
        with("exp", json!(NOW - LEEWAY + 1)),
        with("nbf", json!(NOW + LEEWAY)),
        with("unknown", json!({"a": 1})),
    ] {
        assert_eq!(send(&proofs(false), &holder, &holder.proof(&claims), NOW), Ok(None), "{claims}");
    }
}

#[test]
fn a_proof_is_good_from_half_a_minute_before_it_was_made_to_one_minute_after() {
    let holder = Holder::new("ES256");
    for (issued_at, is_good) in [
        (json!(NOW - 60), true),
        (json!(NOW - 61), false),
        (json!(NOW + 30), true),
        (json!(NOW + 31), false),
        (json!(NOW as f64 + 0.75), true),
        (json!(NOW as f64 - 60.25), false),
        (json!(NOW as f64 - 59.75), true),
    ] {
        let result = send(&proofs(false), &holder, &holder.proof(&with("iat", issued_at.clone())), NOW);
        match is_good {
            true => assert_eq!(result, Ok(None), "{issued_at}"),
            false => assert_refused(result, Fault::Time, &issued_at),
        }
    }
}

#[test]
fn the_method_and_the_path_are_those_of_the_request() {
    let holder = Holder::new("ES256");
    let proof = holder.proof(&claims());
    let check = |method: &Method, path: &str| {
        proofs(false).check(method, path, &headers(&[&proof]), TOKEN, &holder.thumbprint(), at(NOW))
    };
    assert_eq!(check(&Method::GET, "/labels"), Ok(None));
    assert_refused(check(&Method::POST, "/labels"), Fault::Method, &"POST");
    assert_refused(check(&Method::from_bytes(b"get").expect("a method"), "/labels"), Fault::Method, &"get");
    for path in ["/label", "/labels/", "/labels/1", "/x/../labels", "/", "*", ""] {
        assert_refused(check(&Method::GET, path), Fault::Target, &path);
    }
}

#[test]
fn a_proof_is_accepted_once_and_one_that_was_refused_may_come_again() {
    let (proofs, holder) = (proofs(false), Holder::new("ES256"));
    let proof = holder.proof(&claims());
    let post =
        |method: &Method| proofs.check(method, "/labels", &headers(&[&proof]), TOKEN, &holder.thumbprint(), at(NOW));
    assert_refused(post(&Method::POST), Fault::Method, &"POST");
    let (signed, _) = proof.rsplit_once('.').expect("three parts");
    assert_refused(
        send(&proofs, &holder, &format!("{signed}.{}", b64([1; 64])), NOW),
        Fault::Signature,
        &"a thief must not use up the proof of another",
    );
    assert_eq!(post(&Method::GET), Ok(None));
    for now in [NOW - 20, NOW, NOW + 1, NOW + 60] {
        assert_refused(send(&proofs, &holder, &proof, now), Fault::Used, &now);
    }
    // Another spelling of the same proof: ECDSA signatures differ each time.
    assert_refused(send(&proofs, &holder, &holder.proof(&claims()), NOW), Fault::Used, &"signed again");
    assert_eq!(send(&proofs, &holder, &holder.proof(&with("jti", json!("id2"))), NOW), Ok(None));
    let other = Holder::new("ES256");
    assert_eq!(send(&proofs, &other, &other.proof(&claims()), NOW), Ok(None));
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_used_proof_good_again() {
    let (proofs, holder) = (proofs(false), Holder::new("ES256"));
    let proof = holder.proof(&claims());
    assert_eq!(send(&proofs, &holder, &proof, NOW), Ok(None));
    for id in 0..200 {
        let mut later = with("iat", json!(NOW + 3600));
        later["jti"] = json!(id.to_string());
        assert_eq!(send(&proofs, &holder, &holder.proof(&later), NOW + 3600), Ok(None));
    }
    for back in [NOW - 30, NOW, NOW + 60] {
        assert_refused(send(&proofs, &holder, &proof, back), Fault::Used, &back);
    }
}

#[test]
fn of_a_hundred_who_send_the_same_proof_at_once_one_is_accepted() {
    let (proofs, holder) = (proofs(false), Holder::new("ES256"));
    let (proof, barrier) = (holder.proof(&claims()), Barrier::new(100));
    let (accepted, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                barrier.wait();
                match send(&proofs, &holder, &proof, NOW) {
                    Ok(_) => accepted.fetch_add(1, Ordering::Relaxed),
                    Err(problem) => {
                        assert_eq!(problem.detail(), Fault::Used.detail());
                        used.fetch_add(1, Ordering::Relaxed)
                    }
                }
            });
        }
    });
    assert_eq!((accepted.into_inner(), used.into_inner()), (1, 99));
}

#[test]
fn a_refusal_challenges_by_dpop_and_holds_nothing_of_the_proof() {
    let (proofs, holder) = (proofs(true), Holder::new("ES256"));
    let proof = holder.proof(&with("jti", json!("very-secret-id")));
    let (signed, _) = proof.rsplit_once('.').expect("three parts");
    let forged = format!("{signed}.{}", b64([1; 64]));
    for (sent, error) in
        [(&proof, "use_dpop_nonce"), (&forged, "use_dpop_nonce"), (&"x".to_owned(), "invalid_dpop_proof")]
    {
        let problem = send(&proofs, &holder, sent, NOW).expect_err("refused");
        let response = problem.to_response::<String>(&Context::default());
        assert_eq!(response.status(), 401);
        let challenge = response.headers()["www-authenticate"].to_str().expect("text");
        assert!(challenge.starts_with(&format!("DPoP error=\"{error}\",")), "{challenge}");
        assert!(challenge.contains(&format!("algs=\"{ALGORITHMS}\"")), "{challenge}");
        let (parts, body) = problem.to_response::<Empty<Bytes>>(&Context::default()).into_parts();
        let body = body.collect().now_or_never().expect("at hand").expect("infallible").to_bytes();
        let all = format!("{problem:?} {problem} {parts:?} {}", String::from_utf8_lossy(&body));
        for secret in ["very-secret-id", TOKEN, &proof[..40], &b64(holder.thumbprint())] {
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[test]
fn a_memory_that_is_full_is_no_fault_of_the_caller() {
    let problem = Fault::Full(std::time::Duration::from_secs(61)).problem(|| panic!("no nonce is needed"));
    let response = problem.to_response::<String>(&Context::default());
    assert_eq!((problem.kind(), response.status().as_u16()), (Kind::Unavailable, 503));
    assert_eq!(response.headers()["retry-after"], "61");
}

#[test]
fn a_proof_with_any_one_bit_changed_is_refused() {
    let (proofs, holder) = (proofs(false), Holder::new("EdDSA"));
    let proof = holder.proof(&claims());
    for position in 0..proof.len() {
        for bit in 0..8 {
            let mut bytes = proof.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
            let sent = HeaderMap::from_iter([(DPOP, value)]);
            let result = proofs.check(&Method::GET, "/labels", &sent, TOKEN, &holder.thumbprint(), at(NOW));
            assert!(result.is_err(), "bit {bit} of byte {position}");
        }
    }
    assert_eq!(send(&proofs, &holder, &proof, NOW), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_check_panic_or_accept(bytes in prop::collection::vec(any::<u8>(), 0..300), header in ".{0,80}", payload in ".{0,80}") {
        let proofs = proofs(false);
        let shaped = format!("{}.{}.{}", b64(header), b64(payload), b64(&bytes));
        let valid = HeaderValue::from_bytes(&bytes).ok();
        for value in valid.into_iter().chain(HeaderValue::from_str(&shaped)) {
            let sent = HeaderMap::from_iter([(DPOP, value)]);
            prop_assert!(proofs.check(&Method::GET, "/labels", &sent, TOKEN, &[0; 32], at(NOW)).is_err());
        }
    }

    #[test]
    fn no_time_makes_the_check_panic_or_accept_outside_the_window(issued_at in any::<i64>(), now in -377_705_023_201_i64..253_402_207_201) {
        let (proofs, holder) = (proofs(false), Holder::new("EdDSA"));
        let result = send(&proofs, &holder, &holder.proof(&with("iat", json!(issued_at))), now);
        prop_assert_eq!(result.is_ok(), (-60..=30).contains(&(i128::from(issued_at) - i128::from(now))));
    }
}
