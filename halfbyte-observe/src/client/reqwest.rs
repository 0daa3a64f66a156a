//! reqwest's own requests and responses.

use http::{Extensions, HeaderMap, Method, Response as HttpResponse};
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};

use super::exchange::Exchange;
use super::message::Sealed;
use super::target::Target;
use super::{ClientBody, Inbound, Outbound};

impl Sealed for Request {}
impl Sealed for Response {}

impl Outbound for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> Target<'_> {
        Target::of_url(self.url())
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn extensions(&self) -> Option<&Extensions> {
        None
    }
}

impl Inbound for Response {
    type Observed = Response;

    fn observe(self, exchange: Option<Exchange>) -> Response {
        let Some(mut exchange) = exchange else { return self };
        if let Some(peer) = self.remote_addr() {
            exchange.connected_to(peer);
        }
        // The URL, which is another one after redirects, is kept in an extension that only the builder makes.
        let with_url = HttpResponse::builder().url(self.url().clone()).body(());
        let mut response: HttpResponse<Body> = self.into();
        if let Ok(with_url) = with_url {
            response.extensions_mut().extend(with_url.into_parts().0.extensions);
        }
        ClientBody::wrap(response, Some(exchange)).map(Body::wrap).into()
    }
}
