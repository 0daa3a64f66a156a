//! The stack that one puts together by hand, as the documentation of its parts has it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum_prometheus::PrometheusMetricLayer;
use http::StatusCode;
use jwt_authorizer::{AuthError, IntoLayer as _, JwtAuthorizer, RegisteredClaims, Validation};
use tower::ServiceBuilder;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_http::trace::TraceLayer;

use crate::product::Failure;
use crate::servers::Hello;

struct Answer(Response);

impl From<AuthError> for Answer {
    fn from(_refusal: AuthError) -> Self {
        Self(StatusCode::UNAUTHORIZED.into_response())
    }
}

/// Takes the tokens of the product that said `hello`.
pub async fn routes(hello: &str) -> Result<Router, Failure> {
    tracing_subscriber::fmt().with_env_filter("error").init();
    let Hello { issuer, keys, .. } = serde_json::from_str(hello)?;
    let validation = Validation::new().iss(&[&issuer]).aud(&["parcel"]).exp(true);
    let authorizer = JwtAuthorizer::<RegisteredClaims>::from_jwks_text(&keys).validation(validation).build().await?;
    // It is of the time before axum 0.8, and wants to make refusals of the service's own type.
    let authorize = ServiceBuilder::new()
        .map_response(|Answer(response): Answer| response)
        .layer(authorizer.into_layer())
        .map_response(Answer);
    // Nobody is refused: what is measured is what asking costs.
    let limit = GovernorConfigBuilder::default().per_nanosecond(1).burst_size(u32::MAX).finish().ok_or("no limit")?;
    let (metrics, exposition) = PrometheusMetricLayer::pair();
    Ok(Router::new()
        .route("/labels", post(async || "a label"))
        .layer(authorize)
        .layer(GovernorLayer::new(Arc::new(limit)))
        .layer(metrics)
        .layer(TraceLayer::new_for_http())
        .route("/metrics", axum::routing::get(async move || exposition.render())))
}

/// Who is at the other end is what is limited.
pub fn with_peers(routes: Router) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    routes.into_make_service_with_connect_info()
}
