use axum_core::extract::FromRequestParts;
use axum_core::response::Response;
use halfbyte_core::Problem;
use halfbyte_core::problem::Context;
use http::request::Parts;

use super::{Entitled, FeatureName};

/// A request that did not go through the layer is the product's fault, and is answered with 500 `internal`.
impl<S: Send + Sync, F: FeatureName> FromRequestParts<S> for Entitled<F> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        Self::of(&parts.extensions).ok_or_else(|| {
            tracing::error!(
                feature = F::NAME,
                path = parts.uri.path(),
                "a handler takes Entitled<_> and no EntitleLayer of that feature stands around it; \
                 add Billing::entitle(feature) to the route"
            );
            Problem::internal().refuse(&Context::from_parts(&parts.headers, &parts.extensions))
        })
    }
}
