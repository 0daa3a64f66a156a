//! The endpoints that forms are sent to: by clients to an embedded issuer, and by issuers that end a session.

use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::body::Refusable;
use halfbyte_core::{BoxError, Problem, error_chain, problem};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use tokio::time::timeout;

use super::endpoints::{not_allowed, respond};
use crate::authenticator::Authenticator;
use crate::embedded::{Embedded, Failure, OAuthError, OAuthRequest, Operation};
use crate::logout::LogoutError;

/// The largest form that is read, in bytes.
const MAX_FORM: usize = 16 * 1024;
/// How long a client may take to send it.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

const UNREADABLE: OAuthError = OAuthError {
    status: StatusCode::BAD_REQUEST,
    error: "invalid_request",
    description: "the form cannot be read, is too large, or comes too slowly",
};

pub(super) async fn perform<Q, B>(
    embedded: Embedded,
    operation: Operation,
    request: Request<Q>,
) -> Response<Refusable<B>>
where
    Q: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let context = problem::Context::of(&request);
    let (parts, body) = request.into_parts();
    let Some(form) = read(body).await else { return refused(UNREADABLE) };
    let request = match OAuthRequest::parse(&parts.headers, &form) {
        Ok(request) => request,
        Err(error) => return refused(error),
    };
    match embedded.perform(operation, &request).await {
        Ok(answer) => respond(StatusCode::OK, answer.to_string().into(), "no-store"),
        Err(Failure::Refused(error)) => refused(error),
        Err(Failure::Unavailable(retry_in)) => Problem::unavailable(retry_in).to_response(&context),
    }
}

/// Takes a logout token (OpenID Connect Back-Channel Logout 1.0).
pub(super) async fn log_out<Q, B>(authenticator: Authenticator, request: Request<Q>) -> Response<Refusable<B>>
where
    Q: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let context = problem::Context::of(&request);
    let Some(form) = read(request.into_body()).await else { return refused(UNREADABLE) };
    match authenticator.log_out(&form).await {
        Ok(()) => respond(StatusCode::OK, Bytes::new(), "no-store"),
        Err(LogoutError::Unavailable(problem)) => problem.to_response(&context),
        Err(LogoutError::Invalid(description)) => {
            tracing::debug!(description, "a logout token is refused");
            refused(OAuthError { status: StatusCode::BAD_REQUEST, error: "invalid_request", description })
        }
    }
}

/// The whole form, if it is not too large and comes in time.
async fn read<Q>(body: Q) -> Option<Bytes>
where
    Q: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    let error = match timeout(FORM_TIMEOUT, Limited::new(body, MAX_FORM).collect()).await {
        Ok(Ok(form)) => return Some(form.to_bytes()),
        Ok(Err(error)) => error_chain(&*error),
        Err(_) => "it took too long".to_owned(),
    };
    tracing::debug!(error, "the form of a client cannot be read");
    None
}

fn refused<B>(OAuthError { status, error, description }: OAuthError) -> Response<Refusable<B>> {
    let body = json!({ "error": error, "error_description": description });
    let mut response = respond(status, body.to_string().into(), "no-store");
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
    }
    response
}
