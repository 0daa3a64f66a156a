//! What others offer for the same, as their documentation sets it up.

use std::error::Error;

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use jwt_authorizer::{AuthError, IntoLayer as _, JwtAuthorizer, RegisteredClaims};
use serde::Deserialize;
use tower::{Layer as _, service_fn};
use tower_oauth2_resource_server::claims::DefaultClaims;
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;

use crate::issuer::Issuer;
use crate::ours::{at_once, empty};
use crate::{AUDIENCE, Subject};

pub async fn all(issuer: &Issuer) -> Result<Vec<(&'static str, Subject)>, Box<dyn Error>> {
    Ok(vec![
        ("jwt-authorizer", jwt_authorizer(issuer).await?),
        ("tower-oauth2-resource-server", tower_oauth2_resource_server(issuer).await?),
        ("jsonwebtoken", jsonwebtoken(issuer)?),
    ])
}

/// jwt-authorizer makes its refusals itself, of whatever the service answers.
#[derive(Default)]
struct Answer(Response<()>);

impl From<AuthError> for Answer {
    fn from(_refusal: AuthError) -> Self {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Self(response)
    }
}

async fn jwt_authorizer(issuer: &Issuer) -> Result<Subject, Box<dyn Error>> {
    let validation = jwt_authorizer::Validation::new().iss(&[&issuer.id]).aud(&[AUDIENCE]).exp(true);
    let authorizer = JwtAuthorizer::<RegisteredClaims>::from_jwks_text(&issuer.jwks()).validation(validation);
    let mut service = authorizer.build().await?.into_layer().layer(service_fn(empty::<Answer>));
    Ok(Box::new(move |request| at_once(&mut service, request).0.status()))
}

async fn tower_oauth2_resource_server(issuer: &Issuer) -> Result<Subject, Box<dyn Error>> {
    let claims = ClaimsValidationSpec::new().iss(&issuer.id).aud(&vec![AUDIENCE.to_owned()]).exp(true);
    let tenant = TenantConfiguration::static_builder(issuer.jwks()).claims_validation(claims).build()?;
    let server = OAuth2ResourceServer::<DefaultClaims>::builder().add_tenant(tenant).build().await?;
    let mut service = server.into_layer::<()>().layer(service_fn(empty::<Response<()>>));
    Ok(Box::new(move |request| at_once(&mut service, request).status()))
}

/// What a handler would read.
#[derive(Clone, Deserialize)]
#[expect(dead_code, reason = "read by nobody here, but parsed all the same")]
struct Claims {
    sub: String,
    tenant: String,
    scope: String,
    exp: u64,
}

fn jsonwebtoken(issuer: &Issuer) -> Result<Subject, Box<dyn Error>> {
    let keys: JwkSet = serde_json::from_str(&issuer.jwks())?;
    let key = DecodingKey::from_jwk(keys.keys.first().ok_or("no key")?)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[&issuer.id]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let verify = move |request: Request<()>| {
        let token = request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()
    };
    Ok(Box::new(move |request| verify(request).map_or(StatusCode::UNAUTHORIZED, |_| StatusCode::OK)))
}
