//! The token endpoint: what is granted, and the tokens that come of it (RFC 6749, 4.4 and 5.1), without I/O.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::TOKEN_LIFETIME;
use super::exchange::TOKEN_EXCHANGE;
use super::request::{Authenticated, OAuthError, refuse};
use super::revocation::REVOCATIONS;
use crate::jose::Object;

pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";

/// What is granted to a client.
pub(super) struct Grant<'a> {
    /// The claims that say whose token it is.
    pub(super) subject: Object,
    pub(super) audience: &'a str,
    pub(super) scope: String,
    /// In seconds since 1970.
    pub(super) expires_at: i64,
}

impl<'a> Authenticated<'a> {
    /// The answer of the token endpoint.
    pub(super) fn grant(&self) -> Result<Value, OAuthError> {
        match self.request.grant_type.as_deref() {
            Some(CLIENT_CREDENTIALS) => self.client_credentials(),
            Some(TOKEN_EXCHANGE) => self.exchange(),
            Some(_) => Err(refuse(
                "unsupported_grant_type",
                "only client_credentials and token exchange (RFC 8693) are granted here",
            )),
            None => Err(refuse("invalid_request", "grant_type is missing")),
        }
    }

    fn client_credentials(&self) -> Result<Value, OAuthError> {
        let may_have: Vec<_> = self.client.scopes.iter().map(String::as_str).collect();
        let subject = json!({ "sub": self.client.id, "tenant": self.client.tenant });
        self.issue(Grant {
            scope: self.scope_of(&may_have)?,
            audience: self.audience()?,
            expires_at: self.latest_end(),
            subject: object(subject),
        })
    }

    /// What is asked for of the scopes that may be had; all of them when nothing is asked for.
    pub(super) fn scope_of(&self, may_have: &[&str]) -> Result<String, OAuthError> {
        match self.request.scope.as_deref().map(str::trim).filter(|scope| !scope.is_empty()) {
            None => Ok(may_have.join(" ")),
            Some(asked) if asked.split(' ').all(|scope| may_have.contains(&scope)) => Ok(asked.to_owned()),
            Some(_) => Err(refuse("invalid_scope", "one of these scopes may not be had")),
        }
    }

    /// What the token is to be for.
    pub(super) fn audience(&self) -> Result<&'a str, OAuthError> {
        let audience = self.issuer.audience_of(self.request.audience.as_deref());
        if self.client.audiences.iter().any(|has| has == audience) {
            Ok(audience)
        } else {
            Err(refuse("invalid_target", "the client may not have tokens for this audience"))
        }
    }

    /// The latest that a token of now may expire.
    pub(super) fn latest_end(&self) -> i64 {
        self.now.saturating_add(TOKEN_LIFETIME.as_secs().cast_signed())
    }

    /// A token of `grant`, in a token response.
    pub(super) fn issue(&self, grant: Grant<'_>) -> Result<Value, OAuthError> {
        let Grant { subject: mut claims, audience, scope, expires_at } = grant;
        let id = random_id().ok_or(SERVER_ERROR)?;
        claims.extend(object(json!({
            "iss": self.issuer.issuer(),
            "client_id": self.client.id,
            "aud": audience,
            "scope": scope,
            "iat": self.now,
            "exp": expires_at,
            "jti": id,
        })));
        let revocations = self.state.revocations(&self.client.id);
        if revocations > 0 {
            claims.insert(REVOCATIONS.to_owned(), revocations.into());
        }
        let token = self.state.sign(&Value::Object(claims)).map_err(|_| SERVER_ERROR)?;
        let lifetime = expires_at.saturating_sub(self.now);
        Ok(json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope }))
    }
}

const SERVER_ERROR: OAuthError = OAuthError {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    error: "server_error",
    description: "the token could not be made",
};

pub(super) fn object(json: Value) -> Object {
    match json {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn random_id() -> Option<String> {
    let mut id = [0; 16];
    rand::fill(&mut id).ok()?;
    Some(URL_SAFE_NO_PAD.encode(id))
}
