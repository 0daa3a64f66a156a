//! What axum handlers take as arguments.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::Response;
use http::request::Parts;

use crate::problem::Context;
use crate::{Principal, Problem};

/// The caller; a request without one is refused as `unauthenticated`.
impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal
            .ok_or_else(|| Problem::unauthenticated().refuse(&Context::from_parts(&parts.headers, &parts.extensions)))
    }
}

/// The caller, if there is one: for routes that anybody may use.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Principal>().cloned())
    }
}

/// What a handler needs to refuse by itself: see [`Problem::refuse`].
impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_parts(&parts.headers, &parts.extensions))
    }
}

impl Problem {
    /// The response for an axum handler to return.
    pub fn refuse(&self, context: &Context) -> Response {
        self.to_response::<Body>(context).map(Body::new)
    }
}
