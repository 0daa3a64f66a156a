//! The token endpoint: client credentials (RFC 6749, 4.4), answered without I/O.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{Embedded, State, TOKEN_LIFETIME};

/// What a client sent.
#[derive(Default)]
pub(crate) struct TokenRequest {
    client_id: Option<String>,
    client_secret: Option<String>,
    grant_type: Option<String>,
    scope: Option<String>,
    audience: Option<String>,
}

/// A refusal in the form of RFC 6749, 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

const fn refuse(error: &'static str, description: &'static str) -> OAuthError {
    OAuthError { status: StatusCode::BAD_REQUEST, error, description }
}

const INVALID_CLIENT: OAuthError = OAuthError {
    status: StatusCode::UNAUTHORIZED,
    error: "invalid_client",
    description: "the client id or the client secret is not right",
};

impl TokenRequest {
    /// Reads the form, and the `Authorization` header where the client authenticates there. A field without a value
    /// counts as left out (RFC 6749, 3.2).
    pub(crate) fn parse(headers: &HeaderMap, form: &[u8]) -> Result<Self, OAuthError> {
        let form_is_sent = headers.get(CONTENT_TYPE).is_none_or(|sent| is_form(sent.as_bytes()));
        if !form_is_sent {
            return Err(refuse("invalid_request", "the body is not application/x-www-form-urlencoded"));
        }
        let mut request = Self::default();
        for (name, value) in form_urlencoded::parse(form) {
            let field = match &*name {
                "client_id" => &mut request.client_id,
                "client_secret" => &mut request.client_secret,
                "grant_type" => &mut request.grant_type,
                "scope" => &mut request.scope,
                "audience" | "resource" => &mut request.audience,
                _ => continue,
            };
            if value.is_empty() {
                continue;
            }
            if field.replace(value.into_owned()).is_some() {
                return Err(refuse("invalid_request", "a field stands twice"));
            }
        }
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        if let Some(header) = authorizations.next() {
            let (id, secret) = basic(header.as_bytes()).ok_or(INVALID_CLIENT)?;
            if authorizations.next().is_some()
                || request.client_secret.is_some()
                || request.client_id.as_ref().is_some_and(|other| *other != id)
            {
                return Err(refuse("invalid_request", "the client authenticates in two ways"));
            }
            (request.client_id, request.client_secret) = (Some(id), Some(secret));
        }
        Ok(request)
    }

    /// Whether it is of a client that `state` does not know by that secret: either may be newer than `state` is.
    pub(crate) fn is_news_to(&self, state: &State) -> bool {
        let credentials = self.client_id.as_deref().zip(self.client_secret.as_deref());
        credentials.is_some_and(|(id, secret)| state.client(id, secret).is_none())
    }

    /// The answer to a good request.
    pub(crate) fn grant(&self, issuer: &Embedded, state: &State, now: Timestamp) -> Result<Value, OAuthError> {
        let (id, secret) = self.client_id.as_deref().zip(self.client_secret.as_deref()).ok_or(INVALID_CLIENT)?;
        let client = state.client(id, secret).ok_or(INVALID_CLIENT)?;
        match self.grant_type.as_deref() {
            Some("client_credentials") => {}
            Some(_) => return Err(refuse("unsupported_grant_type", "only client_credentials is granted here")),
            None => return Err(refuse("invalid_request", "grant_type is missing")),
        }
        let scope = match self.scope.as_deref().map(str::trim).filter(|scope| !scope.is_empty()) {
            None => client.scopes.join(" "),
            Some(asked) if asked.split(' ').all(|scope| client.scopes.iter().any(|has| has == scope)) => {
                asked.to_owned()
            }
            Some(_) => return Err(refuse("invalid_scope", "the client may not have one of these scopes")),
        };
        let audience = issuer.audience_of(self.audience.as_deref());
        if !client.audiences.iter().any(|has| has == audience) {
            return Err(refuse("invalid_target", "the client may not have tokens for this audience"));
        }
        let (now, lifetime) = (now.as_second(), TOKEN_LIFETIME.as_secs().cast_signed());
        let claims = json!({
            "iss": issuer.issuer(),
            "sub": id,
            "client_id": id,
            "aud": audience,
            "scope": scope,
            "tenant": client.tenant,
            "iat": now,
            "exp": now.saturating_add(lifetime),
            "jti": random_id().ok_or(SERVER_ERROR)?,
        });
        let token = state.sign(&claims).map_err(|_| SERVER_ERROR)?;
        Ok(json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope }))
    }
}

const SERVER_ERROR: OAuthError = OAuthError {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    error: "server_error",
    description: "the token could not be made",
};

fn random_id() -> Option<String> {
    let mut id = [0; 16];
    rand::fill(&mut id).ok()?;
    Some(URL_SAFE_NO_PAD.encode(id))
}

fn is_form(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// RFC 6749, 2.3.1: id and secret, each form-encoded, joined by a colon.
fn basic(header: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    // A part that is not form-encoded would be cut at what separates fields.
    let whole = |part: &&[u8]| !part.iter().any(|byte| matches!(byte, b'&' | b'='));
    let decode = |part| form_urlencoded::parse(Some(part).filter(whole)?).next().map(|(name, _)| name.into_owned());
    Some((decode(&pair[..colon])?, decode(&pair[colon + 1..])?))
}
