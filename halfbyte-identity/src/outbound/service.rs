use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use halfbyte_core::{BoxError, live};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{AccessToken, TokenLayer};

/// The service of [`TokenLayer`].
pub struct TokenService<S, B> {
    pub(super) inner: S,
    pub(super) layer: TokenLayer<B>,
}

/// A call through a [`TokenLayer`] failed.
///
/// ```
/// # use halfbyte_identity::outbound::CallError;
/// fn retry_after(error: &CallError) -> Option<std::time::Duration> {
///     match error {
///         CallError::Token(error) => Some(error.retry_in()),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// No token is to be had; nothing was sent.
    Token(live::Error),
    /// The service inside failed.
    Service(BoxError),
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TokenService<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResBody>, CallError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.inner.poll_ready(cx).map_err(CallError::service)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if !self.layer.hosts.may_have_tokens(request.uri()) {
            request.headers_mut().remove(AUTHORIZATION);
            let call = self.inner.call(request);
            return Box::pin(async { call.await.map_err(CallError::service) });
        }
        // The one that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        Box::pin(authorized(inner, self.layer.clone(), request))
    }
}

async fn authorized<S, ReqBody, ResBody>(
    mut inner: S,
    layer: TokenLayer<ReqBody>,
    mut request: Request<ReqBody>,
) -> Result<Response<ResBody>, CallError>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error: Into<BoxError>>,
{
    let (token, generation) = layer.source.current().await.map_err(CallError::Token)?;
    authorize(&mut request, &token);
    let again = (layer.again)(request.body()).map(|body| copy(&request, body));
    let response = inner.call(request).await.map_err(CallError::service)?;
    if !is_refused(&response) {
        return Ok(response);
    }
    let Some(mut again) = again else {
        layer.source.distrust(generation);
        return Ok(response);
    };
    let Some(newer) = layer.source.newer_than(generation).await else { return Ok(response) };
    // Its connection may be needed for what follows.
    drop(response);
    authorize(&mut again, &newer);
    poll_fn(|cx| inner.poll_ready(cx)).await.map_err(CallError::service)?;
    inner.call(again).await.map_err(CallError::service)
}

/// 401, or what gRPC has in its place when a call ends before it began.
fn is_refused<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        || response.headers().get("grpc-status").is_some_and(|status| status == "16")
}

fn authorize<B>(request: &mut Request<B>, token: &AccessToken) {
    request.headers_mut().insert(AUTHORIZATION, token.header());
}

/// The same request with another body.
fn copy<B>(request: &Request<B>, body: B) -> Request<B> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

impl<S: Clone, B> Clone for TokenService<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for TokenService<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl CallError {
    fn service(error: impl Into<BoxError>) -> Self {
        Self::Service(error.into())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "the call was not made: there is no token for it",
            Self::Service(_) => "the call failed",
        })
    }
}

impl StdError for CallError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Token(error) => Some(error),
            Self::Service(error) => Some(&**error),
        }
    }
}
