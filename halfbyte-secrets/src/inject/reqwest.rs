//! reqwest's own requests, answers and client.

use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Request, Response};
use secrecy::zeroize::Zeroize;
use tower_layer::Layer as _;

use super::message::{Sealed, Target};
use super::{Inbound, Inject, InjectLayer, Mode, Outbound, Repeat};

impl<T: Zeroize, M> InjectLayer<T, M> {
    /// A client that sends requests with the secret and follows no redirect by itself: reqwest would take the header along,
    /// unless that is `Authorization`. It is a `tower` service for [`reqwest::Request`].
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`].
    pub fn client(&self, builder: ClientBuilder) -> reqwest::Result<Inject<Client, T, M>> {
        Ok(self.layer(builder.redirect(Policy::none()).build()?))
    }
}

impl Sealed for Request {}
impl Sealed for Response {}

impl Outbound for Request {
    fn target(&self) -> Option<Target<'_>> {
        let url = self.url();
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let default_port = Some(if is_https { 443 } else { 80 });
        Some(Target { is_https, host: url.host_str()?, port: url.port_or_known_default(), default_port })
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

impl Inbound for Response {
    fn status(&self) -> StatusCode {
        self.status()
    }
}

impl Mode<Request> for Repeat {
    fn copy(request: &Request) -> Option<Request> {
        request.try_clone()
    }
}
