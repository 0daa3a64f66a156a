//! The introspection endpoint (RFC 7662): what a token of this issuer says, and whether it is still good.

use serde_json::{Value, json};

use super::own_token::OwnToken;
use super::request::{Authenticated, OAuthError, refuse};

impl Authenticated<'_> {
    /// The claims of a good token that was issued to the client or is meant for it. Of any other token the client learns
    /// nothing, not even that there is one (RFC 7662, 2.2).
    pub(super) fn introspection(&self) -> Result<Value, OAuthError> {
        let Some(token) = self.request.token.as_deref() else {
            return Err(refuse("invalid_request", "token is missing"));
        };
        let concerns_client =
            |token: &OwnToken| ["aud", "client_id"].into_iter().any(|claim| token.text(claim) == Some(&self.client.id));
        let Some(OwnToken(mut answer)) =
            self.own_token(token).filter(|token| self.is_good(token) && concerns_client(token))
        else {
            return Ok(json!({ "active": false }));
        };
        answer.insert("active".to_owned(), true.into());
        answer.insert("token_type".to_owned(), "Bearer".into());
        Ok(Value::Object(answer))
    }
}
