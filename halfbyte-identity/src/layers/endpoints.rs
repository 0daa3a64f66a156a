use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use halfbyte_core::body::Refusable;
use halfbyte_core::{BoxError, Problem, problem};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::oauth;
use crate::authenticator::Authenticator;
use crate::embedded::{Embedded, INTROSPECTION_PATH, JWKS_PATH, Operation, REVOCATION_PATH, TOKEN_PATH};
use crate::identity::{LOGOUT_PATH, RESOURCE_METADATA_PATH};

/// Answers `/.well-known/oauth-protected-resource` (RFC 9728), takes logout tokens of issuers at
/// `/oauth/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0) and, where an issuer is embedded, its discovery documents,
/// its keys, and its token, revocation and introspection endpoints. Everything else goes on to the service. Stands outside
/// [`AuthenticateLayer`](super::AuthenticateLayer).
#[derive(Clone, Debug)]
pub struct EndpointsLayer {
    resource_document: Arc<str>,
    embedded: Option<Embedded>,
    authenticator: Authenticator,
}

impl EndpointsLayer {
    pub(crate) fn new(resource_document: Arc<str>, embedded: Option<Embedded>, authenticator: Authenticator) -> Self {
        Self { resource_document, embedded, authenticator }
    }
}

impl<S> Layer<S> for EndpointsLayer {
    type Service = Endpoints<S>;

    fn layer(&self, inner: S) -> Endpoints<S> {
        Endpoints { inner, layer: self.clone() }
    }
}

/// The service of [`EndpointsLayer`].
#[derive(Clone, Debug)]
pub struct Endpoints<S> {
    inner: S,
    layer: EndpointsLayer,
}

/// The body of [`Endpoints`]: the inner service's or a document.
pub type EndpointsBody<B> = Refusable<B>;

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Endpoints<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<EndpointsBody<ResBody>>;
    type Error = S::Error;
    type Future = EndpointsFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let answer: Answer<ResBody> = match (request.uri().path(), &self.layer.embedded) {
            (RESOURCE_METADATA_PATH, _) => {
                let document = Bytes::copy_from_slice(self.layer.resource_document.as_bytes());
                let response = document_for(request.method(), document);
                Box::pin(async move { response })
            }
            ("/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server", Some(embedded)) => {
                let response = document_for(request.method(), embedded.metadata().to_string().into());
                Box::pin(async move { response })
            }
            (JWKS_PATH, Some(embedded)) => Box::pin(keys(embedded.clone(), request)),
            (path, Some(embedded)) if let Some(operation) = operation_at(path) => {
                Box::pin(oauth::perform(embedded.clone(), operation, request))
            }
            (LOGOUT_PATH, _) => Box::pin(oauth::log_out(self.layer.authenticator.clone(), request)),
            _ => return EndpointsFuture::Inner { response: self.inner.call(request) },
        };
        EndpointsFuture::Answer { answer }
    }
}

/// In the extensions of a response that [`Endpoints`] made by itself: it tells nothing of the service inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredByLayer;

type Answer<B> = Pin<Box<dyn Future<Output = Response<Refusable<B>>> + Send>>;

pin_project! {
    /// The future of [`Endpoints`].
    #[project = EndpointsProjection]
    pub enum EndpointsFuture<F, B> {
        #[doc(hidden)]
        Inner { #[pin] response: F },
        #[doc(hidden)]
        Answer { answer: Answer<B> },
    }
}

impl<F, B, E> Future for EndpointsFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<EndpointsBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            EndpointsProjection::Inner { response } => {
                response.poll(cx).map_ok(|response| response.map(Refusable::inner))
            }
            EndpointsProjection::Answer { answer } => answer.as_mut().poll(cx).map(|mut response| {
                response.extensions_mut().insert(AnsweredByLayer);
                Ok(response)
            }),
        }
    }
}

fn operation_at(path: &str) -> Option<Operation> {
    match path {
        TOKEN_PATH => Some(Operation::Grant),
        REVOCATION_PATH => Some(Operation::Revoke),
        INTROSPECTION_PATH => Some(Operation::Introspect),
        _ => None,
    }
}

async fn keys<Q: Send, B>(embedded: Embedded, request: Request<Q>) -> Response<Refusable<B>> {
    match embedded.state().get().await {
        Ok(state) => document_for(request.method(), state.jwks()),
        Err(error) => Problem::unavailable(error.retry_in()).to_response(&problem::Context::of(&request)),
    }
}

fn document_for<B>(method: &Method, json: Bytes) -> Response<Refusable<B>> {
    match *method {
        Method::GET => respond(StatusCode::OK, json, "public, max-age=60"),
        Method::HEAD => {
            let mut response = respond(StatusCode::OK, json, "public, max-age=60");
            *response.body_mut() = Refusable::refused(Bytes::new());
            response
        }
        _ => not_allowed("GET, HEAD"),
    }
}

pub(super) fn respond<B>(status: StatusCode, json: Bytes, caching: &'static str) -> Response<Refusable<B>> {
    let length = json.len();
    let mut response = Response::new(Refusable::refused(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

pub(super) fn not_allowed<B>(allow: &'static str) -> Response<Refusable<B>> {
    let mut response = Response::new(Refusable::refused(Bytes::new()));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
