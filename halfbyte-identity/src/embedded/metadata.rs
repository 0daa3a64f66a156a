//! Where the issuer answers what, and how it says so (RFC 8414, OpenID Connect Discovery 1.0).

use halfbyte_core::BoxError;
use serde_json::{Value, json};
use url::Url;

use super::Embedded;
use super::exchange::TOKEN_EXCHANGE;
use super::grant::CLIENT_CREDENTIALS;
use crate::issuer::Endpoint;

/// The path of the token endpoint.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The path of the revocation endpoint (RFC 7009).
pub const REVOCATION_PATH: &str = "/oauth/revoke";
/// The path of the introspection endpoint (RFC 7662).
pub const INTROSPECTION_PATH: &str = "/oauth/introspect";
/// The path of the published keys.
pub const JWKS_PATH: &str = "/oauth/jwks";

/// How clients say who they are, at each endpoint that asks.
const CLIENT_AUTHENTICATION: [&str; 2] = ["client_secret_basic", "client_secret_post"];

impl Embedded {
    pub(crate) fn endpoint(&self, endpoint: Endpoint) -> Result<Option<Url>, BoxError> {
        let path = match endpoint {
            Endpoint::Token => TOKEN_PATH,
            Endpoint::Revocation => REVOCATION_PATH,
            Endpoint::Introspection => INTROSPECTION_PATH,
            Endpoint::Userinfo => return Ok(None),
        };
        Ok(Some(self.0.base.join(path)?))
    }

    /// The metadata document: its issuer is the shared one, its endpoints are those of this process.
    pub(crate) fn metadata(&self) -> Value {
        let base = self.0.base.as_str().trim_end_matches('/');
        json!({
            "issuer": self.issuer(),
            "jwks_uri": format!("{base}{JWKS_PATH}"),
            "token_endpoint": format!("{base}{TOKEN_PATH}"),
            "token_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "revocation_endpoint": format!("{base}{REVOCATION_PATH}"),
            "revocation_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "introspection_endpoint": format!("{base}{INTROSPECTION_PATH}"),
            "introspection_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "grant_types_supported": [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}
