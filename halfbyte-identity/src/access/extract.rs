//! What axum handlers take as arguments.

use std::any::type_name;

use axum_core::extract::FromRequestParts;
use axum_core::response::Response;
use halfbyte_core::Problem;
use halfbyte_core::problem::Context;
use http::request::Parts;

use super::authorized::Authorized;
use super::checks::Checks;

/// A request that did not go through a layer, or for which the provider sent no `T` along, is the product's fault, and is
/// answered with 500 `internal`.
impl<S: Send + Sync, T: Send + Sync + 'static> FromRequestParts<S> for Authorized<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        Self::of(&parts.extensions).ok_or_else(|| {
            tracing::error!(
                wanted = type_name::<T>(),
                path = parts.uri.path(),
                "a handler takes Authorized<_> and has none: put Access::authorize(action) around the route, and have the \
                 entity provider send the value along by Entity::with"
            );
            Problem::internal().refuse(&Context::from_parts(&parts.headers, &parts.extensions))
        })
    }
}

/// As [`Authorized`].
impl<S: Send + Sync> FromRequestParts<S> for Checks {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        Self::of(&parts.extensions).cloned().ok_or_else(|| {
            tracing::error!(
                path = parts.uri.path(),
                "a handler takes Checks and no layer of Access::authorize stands around it"
            );
            Problem::internal().refuse(&Context::from_parts(&parts.headers, &parts.extensions))
        })
    }
}
