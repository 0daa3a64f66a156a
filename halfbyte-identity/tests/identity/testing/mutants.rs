//! Services that believe what they should not: the attacks must find it, and say what it is.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use halfbyte_core::client::Client;
use halfbyte_identity::jose;
use halfbyte_identity::testing::attack::{self, Fault};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};

use super::broken::{Broken, carelessly, header_of, json_of, let_through, single_bearer};
use super::{ann, fetched, request, with_product};
use crate::support::{AUDIENCE, NOW, unb64};

#[tokio::test]
async fn a_service_that_does_not_look_at_signatures_lets_forgeries_through_and_nothing_else() {
    let broken = Broken::new().await;
    let change = |token: &str| {
        let mut parts = token.split('.');
        let (header, payload) = (carelessly(parts.next()?)?, carelessly(parts.next()?)?);
        let (header, payload) = (String::from_utf8(header).ok()?, String::from_utf8(payload).ok()?);
        let is_ours = header.contains(r#""alg":"ES256""#) && parts.count() == 1;
        is_ours.then(|| broken.issuer.sign(&header, &payload))
    };
    let report = broken.attacked(change).await;
    let through = let_through(&report);
    for name in [
        "a good token without its signature",
        "an HMAC by the public key under the key's own algorithm",
        "a stranger's signature under the issuer's key id",
        "a stranger's signature by another algorithm that calls itself the issuer's",
        "a signature of nothing but zeros",
        "a signature without its last byte",
        "a good signature in DER",
        "a signature of twice the order of the curve",
        "other claims under a good signature",
        "claims with one bit changed under a good signature",
    ] {
        assert!(through.contains(&name), "{name}: {report}");
    }
    for name in ["a token that expired a minute ago", "another issuer", "alg twice, the same", "an ID token"] {
        assert!(!through.contains(&name), "{name}");
    }
}

#[tokio::test]
async fn a_service_that_accepts_alg_none_is_caught_in_each_spelling_that_it_accepts() {
    let broken = Broken::new().await;
    let by = async |is_none: fn(&str) -> bool| {
        let change = |token: &str| {
            let unsigned = is_none(header_of(token)?["alg"].as_str()?);
            if unsigned { broken.believed(token) } else { None }
        };
        let_through(&broken.attacked(change).await)
    };
    let exact = [
        "an unsigned token that says alg none",
        "an unsigned token that says alg none with an escape",
        "a token that says alg none, with a signature of the issuer",
        "a token that says alg none, without its last dot",
        "a token that says alg none and nothing else",
        // The last one counts.
        "alg twice, none last",
        "alg twice, once with an escape",
    ];
    assert_eq!(by(|alg| alg == "none").await, exact);
    let any_case = [
        "an unsigned token that says alg None",
        "an unsigned token that says alg NONE",
        "an unsigned token that says alg nOnE",
    ];
    assert_eq!(by(|alg| alg != "none" && alg.eq_ignore_ascii_case("none")).await, any_case);
}

#[tokio::test]
async fn a_service_that_takes_the_public_key_for_a_secret_is_caught() {
    let broken = Broken::new().await;
    let jwks: Value = serde_json::from_str(&fetched(&broken.issuer, "/jwks").await).expect("JSON");
    let coordinate = |name: &str| unb64(jwks["keys"][0][name].as_str().expect("text"));
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).expect("a key");
    let der: PublicKeyX509Der<'_> = key.as_der().expect("encoded");
    for (secret, name) in [
        (der.as_ref(), "HS256 with the public key in DER as its secret"),
        (&point, "HS256 with the bare public key as its secret"),
        (jwks["keys"][0].to_string().as_bytes(), "HS256 with the JWK as its secret"),
        (jwks.to_string().as_bytes(), "HS256 with the whole JWK set as its secret"),
    ] {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let change = |token: &str| {
            let (signed, tag) = token.rsplit_once('.')?;
            let says_so = header_of(token)?["alg"] == "HS256";
            hmac::verify(&secret, signed.as_bytes(), &carelessly(tag)?).ok().filter(|()| says_so)?;
            broken.believed(token)
        };
        assert_eq!(let_through(&broken.attacked(change).await), [name]);
    }
}

#[tokio::test]
async fn a_service_that_trusts_a_key_that_the_token_brings_along_is_caught() {
    let broken = Broken::new().await;
    let change = |token: &str| {
        let jwk = header_of(token)?.get("jwk")?.clone();
        let coordinate = |name: &str| jwk[name].as_str().map(unb64);
        let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
        let (signed, signature) = token.rsplit_once('.')?;
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        key.verify_sig(signed.as_bytes(), &carelessly(signature)?).ok()?;
        broken.believed(token)
    };
    let names = [
        "a stranger's key embedded as jwk",
        "a stranger's key embedded as jwk, without a key id",
        "a key brought along as jwk beside a good signature",
    ];
    assert_eq!(let_through(&broken.attacked(change).await), names);
}

#[tokio::test]
async fn a_service_that_follows_the_address_of_keys_is_caught_even_if_it_refuses() {
    let (issuer, product) = with_product().await;
    let (greeter, client) = (product.greeter(), Client::new().expect("a client"));
    let curious = service_fn(async |request: Request<String>| {
        let header = single_bearer(request.headers()).and_then(header_of).unwrap_or_default();
        for member in ["jku", "x5u"] {
            if let Some(url) = header[member].as_str() {
                let answer = client.get(url.parse().expect("a URL")).send().await.expect("sent");
                let text = String::from_utf8_lossy(answer.body()).into_owned();
                assert!(text.contains("stranger") || text.contains("BEGIN CERTIFICATE") || text.contains("keys"));
            }
        }
        greeter.clone().oneshot(request).await
    });
    let report = attack::run(curious, request, &issuer, AUDIENCE, &ann()).await;
    let names: Vec<_> = report.findings().iter().map(|finding| (finding.attack, finding.fault.clone())).collect();
    let followed = |name| (name, Fault::FollowedAddress);
    let expected = [
        followed("a stranger's keys at an address in jku"),
        followed("a stranger's certificate at an address in x5u"),
        followed("an address of keys in jku beside a good signature"),
        followed("an address of certificates in x5u beside a good signature"),
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_service_that_does_not_look_at_exp_is_caught() {
    let broken = Broken::new().await;
    let names = [
        "a token that expired a minute ago",
        "a token that expired a year ago",
        "a token that expired in 1970",
        "a token that expired before 1970",
        "an expiry in words",
        "an expiry as a date",
        "an expiry of null",
        "an expiry of true",
        "a list of expiries",
        "an expiry in an object",
        "an expiry larger than any time",
        "an expiry of twenty digits",
        "an expiry at the largest integer",
        "an expiry in milliseconds",
        "a token without an expiry",
    ];
    assert_eq!(let_through(&broken.ignoring("exp", json!(NOW + 600)).await), names);
}

#[tokio::test]
async fn a_service_that_does_not_look_at_aud_is_caught() {
    let broken = Broken::new().await;
    let names = [
        "another audience",
        "the audience as the beginning of another",
        "the audience with a space behind it",
        "the audience with a zero behind it",
        "the audience among others in one text",
        "an empty audience",
        "a wildcard as audience",
        "an empty list of audiences",
        "a list of other audiences",
        "the audience in a list in a list",
        "the audience in a list with a number",
        "the audience as the name in an object",
        "null as audience",
        "true as audience",
        "a number as audience",
        "a token without an audience",
        "a token of the issuer for another service",
    ];
    assert_eq!(let_through(&broken.ignoring("aud", json!(AUDIENCE)).await), names);
}

#[tokio::test]
async fn a_service_that_takes_bound_tokens_for_others_is_caught() {
    let broken = Broken::new().await;
    let change = |token: &str| {
        let mut claims = broken.verified(token)?;
        claims.remove("cnf")?;
        Some(broken.issuer.sign(&broken.issuer.header(), &Value::Object(claims).to_string()))
    };
    let through = let_through(&broken.attacked(change).await);
    let (odd, rest): (Vec<&str>, Vec<_>) = through.into_iter().partition(|name| name.contains("confirmation"));
    assert_eq!(odd.len(), 10, "{odd:?}");
    let tokens = [
        "a token bound to a key, as if it were not",
        "a token bound to a certificate, without it",
        "a token bound to a key and a certificate, without either",
        "a token bound to a key, as if it were not, beside its proof",
        "a token bound to a certificate that only the caller speaks of",
        "a token bound to a certificate that the caller forwards",
    ];
    assert_eq!(rest, tokens);
}

#[tokio::test]
async fn a_service_for_which_the_last_of_two_counts_is_caught() {
    let broken = Broken::new().await;
    let change = |token: &str| {
        let (signed, _) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        // Its signature is good, or it would not be ours to read.
        let alone = broken.issuer.sign(&broken.issuer.header(), std::str::from_utf8(&carelessly(payload)?).ok()?);
        if broken.verified(&alone).is_some() && jose::parse_object(&carelessly(header)?).is_ok() {
            return None;
        }
        let (header, claims) = (json_of(header)?, json_of(payload)?);
        let is_object = header["alg"] == "ES256" && claims.is_object();
        is_object.then(|| broken.issuer.sign(&header.to_string(), &claims.to_string()))
    };
    let names = [
        "alg twice, the same",
        "alg twice, none first",
        "kid twice, the same",
        "kid twice, another first",
        "typ twice, another first",
        "a name twice in an object of the header",
        "a name twice deep in the header, once with an escape",
        "exp twice, expired first",
        "exp twice, once with an escape",
        "iss twice, another first",
        "aud twice, another first",
        "sub twice, another first",
        "sub twice, another last",
        "tenant three times",
        "a name twice in an object of the claims",
        "a name twice deep in the claims, once with an escape",
    ];
    let report = broken.attacked(change).await;
    assert_eq!(let_through(&report), names);
}

#[tokio::test]
async fn a_service_that_reads_base64_carelessly_is_caught() {
    let broken = Broken::new().await;
    let change = |token: &str| {
        let parts: Vec<_> = token.split('.').map(carelessly).collect::<Option<_>>()?;
        let [header, payload, signature] = parts.as_slice() else { return None };
        let respelled: Vec<_> = [header, payload, signature].map(crate::support::b64).to_vec();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let spelled_otherwise = respelled.join(".") != token;
        let (header, payload) = (text(header)?, text(payload)?);
        spelled_otherwise.then(|| broken.issuer.sign(&header, &payload))
    };
    let names = [
        "a header with padding",
        "claims with padding",
        "a signature with padding",
        "a header with other bits to spare",
        "claims with other bits to spare",
        "a signature with other bits to spare",
    ];
    assert_eq!(let_through(&broken.attacked(change).await), names);
}

/// Which of several `Authorization` headers counts, and which attacks that lets through.
async fn choosing(choose: fn(Vec<HeaderValue>) -> Option<HeaderValue>) -> Vec<&'static str> {
    let (issuer, product) = with_product().await;
    let greeter = product.greeter().map_request(move |mut request: Request<String>| {
        let all: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().cloned().collect();
        if let Some(chosen) = choose(all) {
            request.headers_mut().insert(AUTHORIZATION, chosen);
        }
        request
    });
    let report = attack::run(greeter, request, &issuer, AUDIENCE, &ann()).await;
    let through = report.findings().iter().filter(|finding| matches!(finding.fault, Fault::LetThrough(StatusCode::OK)));
    through.map(|finding| finding.attack).collect()
}

#[tokio::test]
async fn a_service_that_reads_one_of_two_authorization_headers_is_caught() {
    let last = [
        "a good token in two headers",
        "a good token in a header behind a bad one",
        "a good token in a header behind one of another scheme",
        "a good token in a header behind an empty one",
    ];
    assert_eq!(choosing(|mut all| all.pop()).await, last);
    let first = [
        "a good token in two headers",
        "a good token in a header before a bad one",
        "a good token in a header before one of another scheme",
    ];
    assert_eq!(choosing(|all| all.into_iter().next()).await, first);
}
