//! Nonces (RFC 9449, 8 and 9), as clients meet them.

use halfbyte_core::problem::{Context, Kind};
use serde_json::json;

use super::holder::{Holder, NOW, PUBLIC_URL, TOKEN, assert_refused, at, ath, claims, headers, proofs, send, with};
use super::*;

fn nonce_of(problem: &Problem) -> String {
    let response = problem.to_response::<String>(&Context::default());
    response.headers()[DPOP_NONCE].to_str().expect("text").to_owned()
}

#[test]
fn a_proof_without_the_nonce_that_is_required_is_answered_with_one() {
    let (proofs, holder) = (proofs(true), Holder::new("ES256"));
    let refused = send(&proofs, &holder, &holder.proof(&claims()), NOW).expect_err("refused");
    assert_eq!(refused, Problem::use_dpop_nonce(nonce_of(&refused)).dpop(ALGORITHMS));
    let nonce = nonce_of(&refused);
    assert_eq!(proofs.nonce(at(NOW)), nonce);
    assert_eq!(send(&proofs, &holder, &holder.proof(&with("nonce", json!(nonce))), NOW), Ok(None));
    // Whoever sends no proof at all is told that first.
    let none = proofs.check(&Method::GET, "/labels", &headers(&[]), TOKEN, &holder.thumbprint(), at(NOW));
    assert_refused(none, Fault::Missing, &"no proof");
}

#[test]
fn a_nonce_that_is_old_is_good_once_more_and_the_answer_brings_the_new_one() {
    let holder = Holder::new("ES256");
    // The beginning of a step.
    let start = NOW - NOW.rem_euclid(nonce::STEP);
    for required in [true, false] {
        let proofs = proofs(required);
        let nonce = proofs.nonce(at(start));
        let send = |now: i64| {
            let mut claims = with("nonce", json!(nonce.to_str().expect("text")));
            (claims["iat"], claims["jti"]) = (json!(now), json!(now.to_string()));
            send(&proofs, &holder, &holder.proof(&claims), now)
        };
        assert_eq!(send(start), Ok(None));
        assert_eq!(send(start + nonce::STEP - 1), Ok(None));
        for now in [start + nonce::STEP, start + 2 * nonce::STEP - 1] {
            let handed_out = send(now).expect("good").expect("a nonce");
            assert_eq!(handed_out, proofs.nonce(at(now)));
            assert_ne!(handed_out, nonce);
        }
        for now in [start - 1, start + 2 * nonce::STEP] {
            let refused = send(now).expect_err("refused");
            assert_eq!(refused, Problem::use_dpop_nonce(nonce_of(&refused)).dpop(ALGORITHMS));
            assert_eq!(proofs.nonce(at(now)), nonce_of(&refused));
        }
    }
}

#[test]
fn a_nonce_that_is_not_ours_is_refused_even_where_none_is_required() {
    let holder = Holder::new("ES256");
    for required in [true, false] {
        let proofs = proofs(required);
        let current = proofs.nonce(at(NOW));
        let current = current.to_str().expect("text");
        for bad in ["", "x", &format!("{current}x"), &current[..21], &"x".repeat(1000)] {
            let refused = send(&proofs, &holder, &holder.proof(&with("nonce", json!(bad))), NOW).expect_err("refused");
            assert_eq!(refused, Problem::use_dpop_nonce(current).dpop(ALGORITHMS), "{bad}");
        }
    }
}

#[test]
fn processes_with_one_nonce_key_take_each_others_nonces_and_those_with_their_own_do_not() {
    let holder = Holder::new("ES256");
    let url = PUBLIC_URL.parse().expect("a URL");
    let shared = |key: &str| Proofs::new(&url, true, Some(&SecretString::from(key))).expect("made");
    let nonce = shared("the key of both of them, of 32 b").nonce(at(NOW));
    let proof = holder.proof(&with("nonce", json!(nonce.to_str().expect("text"))));
    assert_eq!(send(&shared("the key of both of them, of 32 b"), &holder, &proof, NOW), Ok(None));
    for other in [shared("the key of another one, of 32 b."), proofs(true)] {
        assert_eq!(send(&other, &holder, &proof, NOW).expect_err("refused").kind(), Kind::InvalidToken);
    }
}

#[test]
fn the_faults_that_a_nonce_does_not_mend_are_told_before_it_is_asked_for() {
    let (proofs, holder) = (proofs(true), Holder::new("ES256"));
    for (claims, fault) in [
        (with("htm", json!("POST")), Fault::Method),
        (with("htu", json!("https://evil/labels")), Fault::Target),
        (with("iat", json!(NOW - 61)), Fault::Time),
        (with("ath", json!(ath("another token"))), Fault::Token),
    ] {
        assert_refused(send(&proofs, &holder, &holder.proof(&claims), NOW), fault, &claims);
    }
}
