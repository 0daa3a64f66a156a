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
    /// The credential in the `Authorization` header; `Ok(None)` when there is none of a scheme of ours.
    pub(crate) fn of<B>(request: &'a Request<B>) -> Result<Option<Self>, Problem> {
        let evidence = Evidence::of(request);
        Ok(sent(request.headers())?.map(|(scheme, token)| Self { token, scheme, evidence }))
    }
}

fn sent(headers: &HeaderMap) -> Result<Option<(Scheme, &str)>, Problem> {
    let malformed = |scheme| match scheme {
        Scheme::Bearer => Problem::invalid_token("the Authorization header is not \"Bearer TOKEN\""),
        Scheme::Dpop => Problem::invalid_token("the Authorization header is not \"DPoP TOKEN\"").dpop(dpop::ALGORITHMS),
    };
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
    if token.is_empty() || !token.iter().all(|byte| IN_TOKEN[usize::from(*byte)]) {
        return Err(malformed(scheme));
    }
    std::str::from_utf8(token).map(|token| Some((scheme, token))).map_err(|_| malformed(scheme))
}

/// The characters of `token68` (RFC 9110, 11.2); a table, as each byte of each token is looked up.
const IN_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        byte += 1;
    }
    table
};
