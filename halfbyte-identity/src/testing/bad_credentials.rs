//! What is wrong with the request around a token: headers, schemes, and tokens that need a proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, Method};

use super::attack::Attack;
use super::forgery::Forgery;
use super::holder::Holder;
use super::signer::random_text;

const DPOP: HeaderName = HeaderName::from_static("dpop");
/// RFC 9440.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

pub(super) fn attacks(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [headers(forgery), schemes(forgery), elsewhere(forgery), bound(forgery), keys()];
    parts.into_iter().flatten().collect()
}

/// `Authorization` headers that are not one bearer token.
fn headers(forgery: &Forgery<'_>) -> Vec<Attack> {
    let good = &forgery.good;
    let bearer = format!("Bearer {good}");
    let two = |name, first: &str, second: &str| Attack::authorization(name, first).with(AUTHORIZATION, second);
    vec![
        two("a good token in two headers", &bearer, &bearer),
        two("a good token in a header behind a bad one", "Bearer a.b.c", &bearer),
        two("a good token in a header before a bad one", &bearer, "Bearer a.b.c"),
        two("a good token in a header behind one of another scheme", "Basic YW5uOmFubg==", &bearer),
        two("a good token in a header before one of another scheme", &bearer, "Basic YW5uOmFubg=="),
        two("a good token in a header behind an empty one", "", &bearer),
        Attack::authorization("a good token twice in one header", &format!("{bearer} {good}")),
        Attack::authorization("two tokens with a comma", &format!("{bearer},{good}")),
        Attack::authorization("two credentials with a comma", &format!("{bearer}, {bearer}")),
        Attack::authorization("the scheme twice", &format!("Bearer {bearer}")),
        Attack::authorization("the scheme and no token", "Bearer"),
        Attack::authorization("the scheme and a space", "Bearer "),
        Attack::authorization("the scheme and many spaces", "Bearer        "),
        Attack::authorization("a good token in quotes", &format!("Bearer \"{good}\"")),
        Attack::authorization("a good token in brackets", &format!("Bearer <{good}>")),
        Attack::authorization("a good token as a parameter", &format!("Bearer token=\"{good}\"")),
        Attack::authorization("a good token and a parameter", &format!("{bearer}; realm=x")),
        Attack::authorization("a good token and a tab and a word", &format!("{bearer}\tx")),
        Attack::authorization("a good token and a letter of another alphabet", &format!("{bearer}\u{e9}")),
        Attack::authorization("a word that is no token", "Bearer null"),
        Attack::authorization("a single letter as token", "Bearer x"),
        Attack::authorization("a token in capitals", &format!("Bearer {}", good.to_ascii_uppercase())),
    ]
}

/// Another scheme is no credential, or a bad one where the product knows it.
fn schemes(forgery: &Forgery<'_>) -> Vec<Attack> {
    let good = &forgery.good;
    let as_password = STANDARD.encode(format!("ann:{good}"));
    let table = [
        ("a good token without a scheme", good.clone()),
        ("a good token by the scheme Token", format!("Token {good}")),
        ("a good token by the scheme JWT", format!("JWT {good}")),
        ("a good token by the scheme Basic", format!("Basic {good}")),
        ("a good token as a password", format!("Basic {as_password}")),
        ("a good token by the scheme MAC", format!("MAC id=\"{good}\"")),
        ("a good token behind a colon", format!("Bearer:{good}")),
        ("a good token behind an equals sign", format!("Bearer={good}")),
        ("a good token behind a tab", format!("Bearer\t{good}")),
        ("a good token by a scheme that begins like the right one", format!("Bearer2 {good}")),
        ("an empty Authorization header", String::new()),
    ];
    table.into_iter().map(|(name, value)| Attack::authorization(name, &value).by_another_scheme()).collect()
}

/// A good token where no token belongs (RFC 6750, 5.3 says why not in the address).
fn elsewhere(forgery: &Forgery<'_>) -> Vec<Attack> {
    let (good, bearer) = (&forgery.good, format!("Bearer {}", forgery.good));
    let named =
        |name, header: &'static str| Attack::unauthenticated(name).with(HeaderName::from_static(header), &bearer);
    vec![
        Attack::unauthenticated("a good token in the address").with_query(format!("access_token={good}")),
        Attack::unauthenticated("a good token in a cookie").with(COOKIE, &format!("access_token={good}")),
        Attack::unauthenticated("a good token for a proxy").with(PROXY_AUTHORIZATION, &bearer),
        named("a good token in x-authorization", "x-authorization"),
        named("a good token in x-forwarded-authorization", "x-forwarded-authorization"),
        named("a good token in x-access-token", "x-access-token"),
        Attack::unauthenticated("a subject by name").with(HeaderName::from_static("x-forwarded-user"), "ann"),
    ]
}

/// Tokens that are bound to a key or a certificate (RFC 9449, RFC 8705), sent by somebody who does not have it.
fn bound(forgery: &Forgery<'_>) -> Vec<Attack> {
    let Forgery { issuer, audience, persona, certificate, good, .. } = forgery;
    let clock = issuer.shared().clock();
    let (holder, thief) = (Holder::with_clock(clock.clone()), Holder::with_clock(clock.clone()));
    let token = issuer.token(&holder.bind((*persona).clone()), audience);
    let to_certificate = issuer.token(&(*persona).clone().bound_to_certificate(certificate), audience);
    let to_both = holder.bind((*persona).clone()).bound_to_certificate(certificate);
    // No service is there: a proof for it is good nowhere.
    let (method, address) = (Method::GET, "https://nowhere.example/");
    let proof = holder.proof(&method, address, &token);
    let by_dpop = |name, token: &str| Attack::authorization(name, &format!("DPoP {token}")).by_another_scheme();
    let in_header = STANDARD.encode(certificate);
    vec![
        Attack::bearer("a token bound to a key, as if it were not", &token),
        Attack::bearer("a token bound to a certificate, without it", &to_certificate),
        Attack::bearer("a token bound to a key and a certificate, without either", issuer.token(&to_both, audience)),
        Attack::bearer("a token bound to a key, as if it were not, beside its proof", &token).with(DPOP, &proof),
        Attack::bearer("a token bound to a certificate that only the caller speaks of", &to_certificate)
            .with(CLIENT_CERT, &format!(":{in_header}:"))
            .unvouched(),
        Attack::bearer("a token bound to a certificate that the caller forwards", &to_certificate)
            .with(XFCC, &format!("Cert=\"{in_header}\""))
            .unvouched(),
        by_dpop("a token bound to a key, without a proof", &token),
        by_dpop("a token bound to a key, with an empty proof", &token).with(DPOP, ""),
        by_dpop("a token bound to a key, with the proof of a thief", &token)
            .with(DPOP, &thief.proof(&method, address, &token)),
        by_dpop("a token bound to a key, with a proof for another address", &token).with(DPOP, &proof),
        by_dpop("a token bound to a key, with a proof for another token", &token)
            .with(DPOP, &holder.proof(&method, address, good)),
        by_dpop("a token bound to a key, with two proofs", &token).with(DPOP, &proof).with(DPOP, &proof),
        by_dpop("a token bound to a key, as its own proof", &token).with(DPOP, &token),
        by_dpop("a token bound to nothing, with a proof", good).with(DPOP, &thief.proof(&method, address, good)),
        by_dpop("a proof in the place of a token, and as its proof", &proof).with(DPOP, &proof),
        Attack::bearer("a proof in the place of a token", &proof),
    ]
}

/// Keys and tokens that nobody made.
fn keys() -> Vec<Attack> {
    let (id, secret) = (random_text().replace(['-', '_'], "x"), random_text().replace(['-', '_'], "y"));
    vec![
        Attack::bearer("an opaque token that nobody issued", format!("{secret}{id}")),
        Attack::bearer("an API key that nobody made", format!("hb_dev_{id}_{secret}")),
        Attack::bearer("an API key of another environment", format!("hb_prod_{id}_{secret}")),
        Attack::bearer("an API key of an environment that is not one", format!("hb__{id}_{secret}")),
        Attack::bearer("an API key without its secret", format!("hb_dev_{id}")),
        Attack::bearer("an API key without its id", format!("hb_dev__{secret}")),
        Attack::bearer("the beginning of an API key", "hb_"),
        Attack::bearer("an API key of ten thousand characters", format!("hb_dev_{id}_{}", "x".repeat(10_000))),
        Attack::bearer("an API key that tries to be SQL", "hb_dev_x--_1+OR+1=1"),
    ]
}
