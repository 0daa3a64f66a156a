//! What a request brings along to say who is calling.

use std::net::SocketAddr;

use halfbyte_core::{PeerAddress, Problem};
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::dpop;

/// The credential of a request, with what else of the request is needed to prove that it is the caller's.
#[derive(Clone, Copy)]
pub(crate) struct Credential<'a> {
    pub(crate) token: &'a str,
    pub(crate) scheme: Scheme,
    pub(crate) evidence: Evidence<'a>,
}

/// How the caller sent the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 6750.
    Bearer,
    /// RFC 9449.
    Dpop,
}

/// What proofs of possession are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        let peer = |extensions: &Extensions| extensions.get().map(|PeerAddress(address)| *address);
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            peer: peer(request.extensions()),
        }
    }
}

impl<'a> Credential<'a> {
    /// The credential in the `Authorization` header; `Ok(None)` when there is none of a scheme of ours. Of the token's
    /// [form](Self::require_form) only that it is text is looked at.
    pub(crate) fn of<B>(request: &'a Request<B>) -> Result<Option<Self>, Problem> {
        let evidence = Evidence::of(request);
        Ok(sent(request.headers())?.map(|(scheme, token)| Self { token, scheme, evidence }))
    }

    /// Refuses a token that is not `token68` (RFC 9110, 11.2).
    pub(crate) fn require_form(&self) -> Result<(), Problem> {
        if is_token68(self.token.as_bytes()) { Ok(()) } else { Err(malformed(self.scheme)) }
    }
}

fn malformed(scheme: Scheme) -> Problem {
    match scheme {
        Scheme::Bearer => Problem::invalid_token("the Authorization header is not \"Bearer TOKEN\""),
        Scheme::Dpop => Problem::invalid_token("the Authorization header is not \"DPoP TOKEN\"").dpop(dpop::ALGORITHMS),
    }
}

fn sent(headers: &HeaderMap) -> Result<Option<(Scheme, &str)>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(Scheme::Bearer));
    }
    let value = value.as_bytes();
    let scheme_ends = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let scheme = match &value[..scheme_ends] {
        scheme if scheme.eq_ignore_ascii_case(b"bearer") => Scheme::Bearer,
        scheme if scheme.eq_ignore_ascii_case(b"dpop") => Scheme::Dpop,
        _ => return Ok(None),
    };
    let token = value[scheme_ends..].trim_ascii();
    if token.is_empty() {
        return Err(malformed(scheme));
    }
    std::str::from_utf8(token).map(|token| Some((scheme, token))).map_err(|_| malformed(scheme))
}

/// Whether all are characters of `token68` (RFC 9110, 11.2). Without a branch for each, as all of every token is looked at.
fn is_token68(token: &[u8]) -> bool {
    token.iter().fold(true, |fits, byte| {
        let (letter, digit) = (byte | 0x20, byte.wrapping_sub(b'0'));
        fits & ((letter.wrapping_sub(b'a') < 26)
            | (digit < 10)
            | (*byte == b'-')
            | (*byte == b'.')
            | (*byte == b'_')
            | (*byte == b'~')
            | (*byte == b'+')
            | (*byte == b'/')
            | (*byte == b'='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_characters_of_a_token_are_those_of_the_rfc() {
        for byte in 0..=u8::MAX {
            let fits = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
            assert_eq!(is_token68(&[b'a', byte, b'z']), fits, "{byte}");
        }
    }
}
