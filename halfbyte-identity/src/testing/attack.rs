//! Every attack on tokens that we know of, as requests that a product must refuse.
//!
//! A product runs all of it against its own assembled service with [`assert_all_refused`]; [`corpus`] is for those who want
//! to send the requests themselves, over a network for instance.

use std::fmt;

use halfbyte_core::PeerAddress;
use halfbyte_core::problem::Kind;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::forgery::Forgery;
use super::issuer::Issuer;
use super::persona::Persona;
pub use super::report::{Fault, Finding, Report};
pub use super::verdict::{assert_all_refused, run};
use super::{bad_claims, bad_credentials, bad_encodings, bad_headers, bad_signatures};

/// One attack: a request with credentials that must not be accepted.
///
/// `Debug` shows what it is and not the credentials: some would be good ones in the right hands.
#[derive(Clone)]
pub struct Attack {
    name: &'static str,
    headers: HeaderMap,
    query: Option<String>,
    expected: &'static [Kind],
    forged: bool,
    unvouched: bool,
}

/// The credential is bad, which is said in the challenge.
const BAD: &[Kind] = &[Kind::InvalidToken];
/// There is no credential in the request that counts.
const NONE: &[Kind] = &[Kind::Unauthenticated];
/// What is sent may count as no credential or as a bad one: a scheme that a product may or may not know.
const EITHER: &[Kind] = &[Kind::InvalidToken, Kind::Unauthenticated];

/// All attacks on a service that takes tokens of `issuer` for `audience`, made from good tokens of `persona`.
///
/// The names are all different. In each, only what its name says is wrong: a signature is that of the issuer unless the
/// signature is what the attack is about. `persona` must not be [bound](Persona::bound_to_key) to anything.
pub fn corpus(issuer: &Issuer, audience: &str, persona: &Persona) -> Vec<Attack> {
    from_forgery(&Forgery::new(issuer, audience, persona))
}

pub(super) fn from_forgery(forgery: &Forgery<'_>) -> Vec<Attack> {
    let parts = [
        bad_signatures::attacks(forgery),
        bad_headers::attacks(forgery),
        bad_encodings::attacks(forgery),
        bad_claims::attacks(forgery),
        bad_credentials::attacks(forgery),
    ];
    parts.into_iter().flatten().collect()
}

impl Attack {
    /// What it is, in words. No two attacks have the same name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The headers that make it; all that a request has of these names.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// By which rows of the table it may be refused.
    pub fn expected(&self) -> &'static [Kind] {
        self.expected
    }

    /// Turns `request` into the attack. What it had of the attack's headers, and its `Authorization`, is taken away.
    pub fn apply<B>(&self, request: &mut Request<B>) {
        request.headers_mut().remove(AUTHORIZATION);
        for name in self.headers.keys() {
            request.headers_mut().remove(name);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        if self.unvouched {
            request.extensions_mut().remove::<PeerAddress>();
        }
        if let Some(query) = &self.query {
            let with_query = format!("{}?{query}", request.uri().path());
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = with_query.parse().ok();
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }

    /// Made by somebody without a key of the issuer: all of these must be refused in the same words.
    pub(super) fn is_forged(&self) -> bool {
        self.forged
    }

    /// Whether it leads to an address: what is fetched there meanwhile tells whether it was followed.
    pub(super) fn leads_elsewhere(&self) -> bool {
        self.name.contains("address")
    }

    /// A token as the bearer token of the request.
    pub(super) fn bearer(name: &'static str, token: impl AsRef<str>) -> Self {
        Self::authorization(name, &format!("Bearer {}", token.as_ref()))
    }

    /// The same, where whoever made it has no key of the issuer.
    pub(super) fn forged(name: &'static str, token: impl AsRef<str>) -> Self {
        Self { forged: true, ..Self::bearer(name, token) }
    }

    /// An `Authorization` header that is a bad credential.
    pub(super) fn authorization(name: &'static str, value: &str) -> Self {
        Self::without_credentials(name, BAD).with(AUTHORIZATION, value)
    }

    pub(super) fn unauthenticated(name: &'static str) -> Self {
        Self::without_credentials(name, NONE)
    }

    fn without_credentials(name: &'static str, expected: &'static [Kind]) -> Self {
        Self { name, headers: HeaderMap::new(), query: None, expected, forged: false, unvouched: false }
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        let mut value = HeaderValue::from_bytes(value.as_bytes()).expect("attacks are made of what HTTP can carry");
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    pub(super) fn with_query(mut self, query: String) -> Self {
        self.query = Some(query);
        self
    }

    /// The same by a scheme that a product may not know, and then takes for no credential.
    pub(super) fn by_another_scheme(mut self) -> Self {
        self.expected = EITHER;
        self
    }

    /// The same where no proxy vouches for the request.
    pub(super) fn unvouched(mut self) -> Self {
        self.unvouched = true;
        self
    }
}

impl fmt::Debug for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attack").field("name", &self.name).field("expected", &self.expected).finish_non_exhaustive()
    }
}
