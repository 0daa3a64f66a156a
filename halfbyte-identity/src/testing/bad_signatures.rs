//! Forgeries: whoever makes these has no key of the issuer.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::attack::Attack;
use super::forgery::Forgery;
use super::server::{STRANGER_CHAIN, STRANGER_KEYS};
use super::signer::{Owner, Signer, b64};
use crate::jose::Algorithm;

pub(super) fn attacks(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [unsigned(forgery), symmetric(forgery), strangers(forgery), mangled(forgery)];
    parts.into_iter().flatten().collect()
}

fn unsigned(forgery: &Forgery<'_>) -> Vec<Attack> {
    let (header, payload, signature) = forgery.parts();
    let table = [
        ("an unsigned token that says alg none", r#""none""#),
        ("an unsigned token that says alg None", r#""None""#),
        ("an unsigned token that says alg NONE", r#""NONE""#),
        ("an unsigned token that says alg nOnE", r#""nOnE""#),
        ("an unsigned token that says alg none with an escape", r#""non\u0065""#),
        ("an unsigned token that says alg none and a space", r#""none ""#),
        ("an unsigned token that says an empty alg", r#""""#),
        ("an unsigned token that says alg null", "null"),
        ("an unsigned token that says a list of algs with none", r#"["none"]"#),
    ];
    let mut attacks: Vec<_> = table
        .into_iter()
        .map(|(name, alg)| Attack::forged(name, forgery.unsigned(&forgery.header_with("alg", alg), b"")))
        .collect();
    let none = b64(forgery.header_with("alg", r#""none""#));
    let names_nothing = r#"{"typ":"at+jwt"}"#;
    let says_none = r#"{"alg":"none"}"#;
    attacks.extend([
        Attack::forged("a token that says alg none, with a signature of the issuer", {
            format!("{none}.{payload}.{signature}")
        }),
        Attack::forged("a token that says alg none, without its last dot", format!("{none}.{payload}")),
        Attack::forged("a token that says alg none and nothing else", forgery.unsigned(says_none, b"")),
        Attack::forged("an unsigned token without alg", forgery.unsigned(names_nothing, b"")),
        Attack::forged("a good token without its signature", format!("{header}.{payload}.")),
        Attack::forged("a good token without its signature and its last dot", format!("{header}.{payload}")),
    ]);
    attacks
}

/// A public key is known to everybody: as the secret of an HMAC it proves nothing.
fn symmetric(forgery: &Forgery<'_>) -> Vec<Attack> {
    let signer = &forgery.signer;
    let pem = signer.public_pem();
    let table = [
        ("HS256 with the public key in PEM as its secret", pem.clone().into_bytes()),
        ("HS256 with the public key in PEM without its last line break", pem.trim_end().as_bytes().to_vec()),
        ("HS256 with the public key in DER as its secret", signer.public_der()),
        ("HS256 with the bare public key as its secret", signer.public_bytes().to_vec()),
        ("HS256 with the JWK as its secret", signer.jwk().to_string().into_bytes()),
        ("HS256 with the whole JWK set as its secret", forgery.issuer.shared().jwks().into_bytes()),
        ("HS256 with the thumbprint of the key as its secret", signer.thumbprint().into_bytes()),
        ("HS256 with the key id as its secret", signer.key_id().as_bytes().to_vec()),
        ("HS256 with the issuer as its secret", forgery.issuer.id().as_bytes().to_vec()),
        ("HS256 with an empty secret", Vec::new()),
        ("HS256 with a secret that everybody has", b"secret".to_vec()),
    ];
    let hs256 = forgery.header_with("alg", r#""HS256""#);
    let mut attacks: Vec<_> = table
        .into_iter()
        .map(|(name, secret)| Attack::forged(name, forgery.with_hmac(&hs256, HMAC_SHA256, &secret)))
        .collect();
    let by_id = |id: &str| json!({"alg": "HS256", "typ": "at+jwt", "kid": id}).to_string();
    let nothing = by_id("../../../../../../dev/null");
    let select = by_id("x' UNION SELECT 'secret' -- ");
    let command = by_id("/dev/null|echo -n secret");
    let no_id = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    let own = forgery.header();
    let (hs384, hs512) = (forgery.header_with("alg", r#""HS384""#), forgery.header_with("alg", r#""HS512""#));
    let pem = pem.as_bytes();
    attacks.extend([
        Attack::forged("HS384 with the public key in PEM as its secret", forgery.with_hmac(&hs384, HMAC_SHA384, pem)),
        Attack::forged("HS512 with the public key in PEM as its secret", forgery.with_hmac(&hs512, HMAC_SHA512, pem)),
        Attack::forged(
            "HS256 with the public key as its secret, without a key id",
            forgery.with_hmac(no_id, HMAC_SHA256, pem),
        ),
        Attack::forged(
            "an HMAC by the public key under the key's own algorithm",
            forgery.with_hmac(&own, HMAC_SHA256, pem),
        ),
        Attack::forged(
            "a path to an empty file as key id, with an empty secret",
            forgery.with_hmac(&nothing, HMAC_SHA256, b""),
        ),
        Attack::forged("SQL as key id that selects the secret", forgery.with_hmac(&select, HMAC_SHA256, b"secret")),
        Attack::forged(
            "a shell command as key id that prints the secret",
            forgery.with_hmac(&command, HMAC_SHA256, b"secret"),
        ),
    ]);
    attacks
}

/// Good signatures, by keys that are not the issuer's.
fn strangers(forgery: &Forgery<'_>) -> Vec<Attack> {
    let (stranger, notary) = (&forgery.stranger, &forgery.notary);
    let by_stranger = |header: String| stranger.token(header, forgery.claims());
    let by_notary = |header: String| notary.token(header, forgery.claims());
    let other = match forgery.signer.algorithm() {
        Algorithm::EdDsa => Algorithm::Es256,
        _ => Algorithm::EdDsa,
    };
    let other = Signer::generate(other, forgery.signer.key_id(), Owner::Stranger);
    let at = |path: &str| json!(format!("{}{path}", forgery.issuer.id()));
    let alg = stranger.algorithm().as_str();
    let chain = json!([STANDARD.encode(&forgery.certificate)]);
    let with = |signer: &Signer, name: &str, value: serde_json::Value| {
        let mut header = signer.header();
        header[name] = value;
        header.to_string()
    };
    let without_id = json!({"alg": alg, "typ": "at+jwt", "jwk": stranger.jwk()}).to_string();
    let unknown = json!({"alg": alg, "typ": "at+jwt", "kid": "stranger"}).to_string();
    vec![
        Attack::forged("a stranger's signature under the issuer's key id", by_stranger(forgery.header())),
        Attack::forged("a stranger's signature under a key id of his own", by_stranger(unknown)),
        Attack::forged("a stranger's signature without a key id", {
            by_stranger(json!({"alg": alg, "typ": "at+jwt"}).to_string())
        }),
        Attack::forged("a stranger's signature by another algorithm under the issuer's key id", {
            other.token(other.header().to_string(), forgery.claims())
        }),
        Attack::forged("a stranger's signature by another algorithm that calls itself the issuer's", {
            other.token(forgery.header(), forgery.claims())
        }),
        Attack::forged("a stranger's key embedded as jwk", by_stranger(with(stranger, "jwk", stranger.jwk()))),
        Attack::forged("a stranger's key embedded as jwk, without a key id", by_stranger(without_id)),
        Attack::forged("a stranger's keys at an address in jku", by_stranger(with(stranger, "jku", at(STRANGER_KEYS)))),
        Attack::forged("a stranger's certificate in x5c", by_notary(with(notary, "x5c", chain))),
        Attack::forged("a stranger's certificate at an address in x5u", {
            by_notary(with(notary, "x5u", at(STRANGER_CHAIN)))
        }),
    ]
}

/// Something that was a signature, or never was.
fn mangled(forgery: &Forgery<'_>) -> Vec<Attack> {
    let (header, payload, encoded) = forgery.parts();
    let signature = URL_SAFE_NO_PAD.decode(encoded).unwrap_or_default();
    let size = signature.len();
    let signed = |signature: Vec<u8>| format!("{header}.{payload}.{}", b64(signature));
    let half = size / 2;
    let flipped = |mut bytes: Vec<u8>, index: usize| {
        bytes[index] ^= 1;
        bytes
    };
    let claims = forgery.claims();
    // The first character of the token's id: what is said stays good.
    let id = claims.find(r#""jti":""#).map_or(0, |at| at + r#""jti":""#.len());
    let exchanged = forgery.claims_with("sub", r#""root""#);
    let of_another = forgery.with_claims(&exchanged);
    let of_another = of_another.rsplit('.').next().unwrap_or_default();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut attacks = vec![
        Attack::forged("a signature of nothing but zeros", signed(vec![0; size])),
        Attack::forged("a signature of nothing but ones", signed(vec![0xff; size])),
        Attack::forged("a signature whose first half is zero", {
            signed([vec![0; half], signature[half..].to_vec()].concat())
        }),
        Attack::forged("a signature whose second half is zero", {
            signed([signature[..half].to_vec(), vec![0; size - half]].concat())
        }),
        Attack::forged("a signature without its last byte", signed(signature[..size - 1].to_vec())),
        Attack::forged("a signature without its first byte", signed(signature[1..].to_vec())),
        Attack::forged("a signature of one byte", signed(signature[..1].to_vec())),
        Attack::forged("a signature and a zero behind it", signed([signature.as_slice(), &[0]].concat())),
        Attack::forged("a signature and a zero before it", signed([&[0], signature.as_slice()].concat())),
        Attack::forged("a signature twice", signed(signature.repeat(2))),
        Attack::forged("a signature of four thousand bytes", signed(vec![0xff; 4096])),
        Attack::forged("a signature with its first bit changed", signed(flipped(signature.clone(), 0))),
        Attack::forged("a signature with its last bit changed", signed(flipped(signature.clone(), size - 1))),
        Attack::forged("a signature in hexadecimal", format!("{header}.{payload}.{hex}")),
        Attack::forged("a signature that is a word", format!("{header}.{payload}.signature")),
        Attack::forged("the signature of another token of the issuer", format!("{header}.{payload}.{of_another}")),
        Attack::forged("other claims under a good signature", format!("{header}.{}.{encoded}", b64(&exchanged))),
        Attack::forged("claims with one bit changed under a good signature", {
            format!("{header}.{}.{encoded}", b64(flipped(claims.into_bytes(), id)))
        }),
        Attack::forged("another header under a good signature", {
            format!("{}.{payload}.{encoded}", b64(forgery.header_with("typ", r#""JWT""#)))
        }),
        Attack::forged("a signature over the claims alone", signed(forgery.signer.sign(payload.as_bytes()))),
        Attack::forged("a signature over what is encoded and not over its encoding", {
            signed(forgery.signer.sign(format!("{}.{}", forgery.header(), forgery.claims()).as_bytes()))
        }),
    ];
    let in_der = forgery.signer.sign_der(format!("{header}.{payload}").as_bytes());
    attacks.extend(in_der.map(|der| Attack::forged("a good signature in DER", signed(der))));
    if let Some(order) = order_of(forgery.signer.algorithm()) {
        attacks.push(Attack::forged("a signature of twice the order of the curve", signed(order.repeat(2))));
    }
    attacks
}

/// The order of the group: congruent to zero, and not zero.
fn order_of(algorithm: Algorithm) -> Option<Vec<u8>> {
    (algorithm == Algorithm::Es256).then(|| {
        let order = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
        URL_SAFE_NO_PAD.decode(order).unwrap_or_default()
    })
}
