//! What a client sends to the token, revocation and introspection endpoints, and who it is (RFC 6749, 2.3 and 3.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use url::form_urlencoded;

use super::clients::ClientSpec;
use super::{Embedded, State};

/// The form of a request, whichever of the endpoints it is for. It has secrets and tokens in it, and so no `Debug`.
#[derive(Default)]
pub(crate) struct OAuthRequest {
    client_id: Option<String>,
    client_secret: Option<String>,
    pub(super) grant_type: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) token: Option<String>,
    pub(super) subject_token: Option<String>,
    pub(super) subject_token_type: Option<String>,
    pub(super) requested_token_type: Option<String>,
    pub(super) actor_token: Option<String>,
    pub(super) actor_token_type: Option<String>,
}

/// A refusal in the form of RFC 6749, 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

pub(super) const fn refuse(error: &'static str, description: &'static str) -> OAuthError {
    OAuthError { status: StatusCode::BAD_REQUEST, error, description }
}

const INVALID_CLIENT: OAuthError = OAuthError {
    status: StatusCode::UNAUTHORIZED,
    error: "invalid_client",
    description: "the client id or the client secret is not right",
};

impl OAuthRequest {
    /// Reads the form, and the `Authorization` header where the client authenticates there. A field without a value
    /// counts as left out (RFC 6749, 3.2).
    pub(crate) fn parse(headers: &HeaderMap, form: &[u8]) -> Result<Self, OAuthError> {
        let form_is_sent = headers.get(CONTENT_TYPE).is_none_or(|sent| is_form(sent.as_bytes()));
        if !form_is_sent {
            return Err(refuse("invalid_request", "the body is not application/x-www-form-urlencoded"));
        }
        let mut request = Self::default();
        for (name, value) in form_urlencoded::parse(form) {
            let Some(field) = request.field(&name).filter(|_| !value.is_empty()) else { continue };
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

    /// Where the field `name` is kept. `token_type_hint` is no help here: there is one kind of token.
    fn field(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "client_id" => &mut self.client_id,
            "client_secret" => &mut self.client_secret,
            "grant_type" => &mut self.grant_type,
            "scope" => &mut self.scope,
            "audience" | "resource" => &mut self.audience,
            "token" => &mut self.token,
            "subject_token" => &mut self.subject_token,
            "subject_token_type" => &mut self.subject_token_type,
            "requested_token_type" => &mut self.requested_token_type,
            "actor_token" => &mut self.actor_token,
            "actor_token_type" => &mut self.actor_token_type,
            _ => return None,
        })
    }

    /// Whether it is of a client that `state` does not know by that secret, or brings a token by a key that `state` does
    /// not have: any of them may be newer than `state` is.
    pub(super) fn is_news_to(&self, state: &State) -> bool {
        let credentials = self.client_id.as_deref().zip(self.client_secret.as_deref());
        let Some((id, secret)) = credentials else { return false };
        let mut tokens = [&self.token, &self.subject_token].into_iter().flatten();
        state.client(id, secret).is_none() || tokens.any(|token| state.lacks_key_of(token))
    }

    /// The client that it is of.
    fn client<'a>(&self, state: &'a State) -> Result<&'a ClientSpec, OAuthError> {
        let (id, secret) = self.client_id.as_deref().zip(self.client_secret.as_deref()).ok_or(INVALID_CLIENT)?;
        state.client(id, secret).ok_or(INVALID_CLIENT)
    }
}

/// A request whose client is who it says, with all that it is decided by.
pub(super) struct Authenticated<'a> {
    pub(super) issuer: &'a Embedded,
    pub(super) state: &'a State,
    pub(super) client: &'a ClientSpec,
    pub(super) request: &'a OAuthRequest,
    /// In seconds since 1970, as tokens have it.
    pub(super) now: i64,
}

impl<'a> Authenticated<'a> {
    pub(super) fn new(issuer: &'a Embedded, state: &'a State, request: &'a OAuthRequest) -> Result<Self, OAuthError> {
        let client = request.client(state)?;
        Ok(Self { issuer, state, client, request, now: issuer.now().as_second() })
    }
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
