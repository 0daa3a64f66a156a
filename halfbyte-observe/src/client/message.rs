use http::header::HOST;
use http::{Extensions, HeaderMap, Method, Request, Response};
use http_body::Body;

use super::ClientBody;
use super::exchange::Exchange;
use super::target::Target;

/// A request that [`ClientLayer`](super::ClientLayer) can observe: an [`http::Request`], or one of
/// [`reqwest`](::reqwest::Request). It is not for others to implement.
pub trait Outbound: Sealed {
    #[doc(hidden)]
    fn method(&self) -> &Method;
    #[doc(hidden)]
    fn target(&self) -> Target<'_>;
    #[doc(hidden)]
    fn headers(&self) -> &HeaderMap;
    #[doc(hidden)]
    fn headers_mut(&mut self) -> &mut HeaderMap;
    #[doc(hidden)]
    fn extensions(&self) -> Option<&Extensions>;
}

/// A response that [`ClientLayer`](super::ClientLayer) can observe to its end: an [`http::Response`], or one of
/// [`reqwest`](::reqwest::Response). It is not for others to implement.
pub trait Inbound: Sealed {
    /// The response whose end is seen.
    type Observed;

    #[doc(hidden)]
    fn observe(self, exchange: Option<Exchange>) -> Self::Observed;
}

/// Keeps what a message has to offer free to change.
pub trait Sealed {}

impl<B> Sealed for Request<B> {}
impl<B> Sealed for Response<B> {}

impl<B> Outbound for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> Target<'_> {
        Target::of_uri(self.uri(), self.headers().get(HOST))
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }
}

impl<B: Body> Inbound for Response<B> {
    type Observed = Response<ClientBody<B>>;

    fn observe(self, exchange: Option<Exchange>) -> Self::Observed {
        ClientBody::wrap(self, exchange)
    }
}
