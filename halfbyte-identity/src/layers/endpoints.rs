use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::body::Refusable;
use halfbyte_core::{BoxError, Problem, error_chain, live, problem};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use pin_project_lite::pin_project;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;

use crate::embedded::{Embedded, JWKS_PATH, OAuthError, TOKEN_PATH, TokenRequest};
use crate::identity::RESOURCE_METADATA_PATH;

/// Answers `/.well-known/oauth-protected-resource` (RFC 9728) and, where an issuer is embedded, its discovery documents,
/// its keys and its token endpoint. Everything else goes on to the service. Stands outside
/// [`AuthenticateLayer`](super::AuthenticateLayer).
#[derive(Clone, Debug)]
pub struct EndpointsLayer {
    resource_document: Arc<str>,
    embedded: Option<Embedded>,
}

impl EndpointsLayer {
    pub(crate) fn new(resource_document: Arc<str>, embedded: Option<Embedded>) -> Self {
        Self { resource_document, embedded }
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

/// The largest form that is read at the token endpoint, in bytes.
const MAX_FORM: usize = 16 * 1024;
/// How long a client may take to send it.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

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
            (TOKEN_PATH, Some(embedded)) => Box::pin(token(embedded.clone(), request)),
            _ => return EndpointsFuture::Inner { response: self.inner.call(request) },
        };
        EndpointsFuture::Answer { answer }
    }
}

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
            EndpointsProjection::Answer { answer } => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

async fn keys<Q: Send, B>(embedded: Embedded, request: Request<Q>) -> Response<Refusable<B>> {
    match embedded.state().get().await {
        Ok(state) => document_for(request.method(), state.jwks()),
        Err(error) => Problem::unavailable(error.retry_in()).to_response(&problem::Context::of(&request)),
    }
}

async fn token<Q, B>(embedded: Embedded, request: Request<Q>) -> Response<Refusable<B>>
where
    Q: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let context = problem::Context::of(&request);
    let (parts, body) = request.into_parts();
    let form = match timeout(FORM_TIMEOUT, Limited::new(body, MAX_FORM).collect()).await {
        Ok(Ok(form)) => form.to_bytes(),
        unread => {
            let error = unread.map_or_else(
                |_| "it took too long".to_owned(),
                |read| read.map_or_else(|error| error_chain(&*error), |_| String::new()),
            );
            tracing::debug!(error, "the form of a token request cannot be read");
            return oauth(Err(OAuthError {
                status: StatusCode::BAD_REQUEST,
                error: "invalid_request",
                description: "the form cannot be read, is too large, or comes too slowly",
            }));
        }
    };
    let request = match TokenRequest::parse(&parts.headers, &form) {
        Ok(request) => request,
        Err(error) => return oauth(Err(error)),
    };
    let answer = async {
        if request.is_news_to(&*embedded.state().get().await?) {
            embedded.reread().await?;
        }
        let state = embedded.state().get().await?;
        Ok::<_, live::Error>(request.grant(&embedded, &state, embedded.now()))
    };
    match answer.await {
        Ok(outcome) => oauth(outcome),
        Err(error) => Problem::unavailable(error.retry_in()).to_response(&context),
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

fn oauth<B>(outcome: Result<Value, OAuthError>) -> Response<Refusable<B>> {
    match outcome {
        Ok(token) => respond(StatusCode::OK, token.to_string().into(), "no-store"),
        Err(OAuthError { status, error, description }) => {
            let body = json!({ "error": error, "error_description": description });
            let mut response = respond(status, body.to_string().into(), "no-store");
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
            }
            response
        }
    }
}

fn respond<B>(status: StatusCode, json: Bytes, caching: &'static str) -> Response<Refusable<B>> {
    let length = json.len();
    let mut response = Response::new(Refusable::refused(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

fn not_allowed<B>(allow: &'static str) -> Response<Refusable<B>> {
    let mut response = Response::new(Refusable::refused(Bytes::new()));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
