//! What the layer has to know of a request and of its answer, whatever their types.

use http::uri::Scheme;
use http::{HeaderMap, Request, Response, StatusCode, Uri};

/// Not for others to implement: what decides where a secret goes must be right.
pub trait Sealed {}

/// A request that goes out: [`http::Request`], or, with the feature `reqwest`, `reqwest::Request`.
pub trait Outbound: Sealed {
    #[doc(hidden)]
    fn target(&self) -> Option<Target<'_>>;

    #[doc(hidden)]
    fn headers_mut(&mut self) -> &mut HeaderMap;
}

/// An answer that comes in: [`http::Response`], or, with the feature `reqwest`, `reqwest::Response`.
pub trait Inbound: Sealed {
    #[doc(hidden)]
    fn status(&self) -> StatusCode;
}

/// What is done about a 401: [`Repeat`] or [`Once`].
pub trait Mode<R>: Sealed {
    #[doc(hidden)]
    fn copy(request: &R) -> Option<R>;
}

/// The request is sent once more, with the next value.
#[derive(Clone, Copy, Debug)]
pub enum Repeat {}

/// The value is rejected, for the requests that come; this one is not sent again. For bodies that cannot be.
#[derive(Clone, Copy, Debug)]
pub enum Once {}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub(super) is_https: bool,
    /// As it is written; an IPv6 address in brackets.
    pub(super) host: &'a str,
    /// None if it cannot be told.
    pub(super) port: Option<u16>,
    pub(super) default_port: Option<u16>,
}

impl<'a> Target<'a> {
    /// None if the URI has no host, or is not of HTTP.
    pub(super) fn of_uri(uri: &'a Uri) -> Option<Self> {
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let default_port = Some(if is_https { 443 } else { 80 });
        // A port that is no number counts as none for others: here, as unknown.
        let port = if authority.as_str().ends_with(authority.host()) { default_port } else { authority.port_u16() };
        Some(Self { is_https, host: authority.host(), port, default_port })
    }
}

impl Sealed for Repeat {}
impl Sealed for Once {}
impl<B> Sealed for Request<B> {}
impl<B> Sealed for Response<B> {}

impl<B> Outbound for Request<B> {
    fn target(&self) -> Option<Target<'_>> {
        Target::of_uri(self.uri())
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

impl<B> Inbound for Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }
}

impl<B: Clone> Mode<Request<B>> for Repeat {
    fn copy(request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

impl<R> Mode<R> for Once {
    fn copy(_: &R) -> Option<R> {
        None
    }
}
