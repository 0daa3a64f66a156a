//! Token exchange (RFC 8693): a product that was called calls another one on behalf of its caller.
//!
//! The rules are narrow, as whoever can exchange speaks for others. A client exchanges only a token that was meant for
//! itself (`aud` is its id): not one that it merely came by, nor one for a product that it may call. The scopes of the new
//! token are within those of the client and within those of the subject token, so that an exchange widens the rights of
//! neither. The new token ends with the subject token at the latest, and is revoked with it.

use serde_json::{Value, json};

use super::grant::{Grant, object};
use super::own_token::OwnToken;
use super::request::{Authenticated, OAuthError, refuse};
use super::revocation::REVOCATIONS;
use crate::jose::Object;

pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The claim that holds the tokens of which a token was made, the nearest first: it is good as long as all of them are.
pub(super) const ISSUED_FROM: &str = "issued_from";

/// How many may act for a subject, one for the other.
const MOST_ACTORS: usize = 8;

/// What a new token says of its subject in the words of the subject token.
const OF_THE_SUBJECT: [&str; 6] = ["sub", "tenant", "auth_time", "acr", "amr", "sid"];

/// What identifies a token and to whom it was issued, for revocation.
const OF_THE_TOKEN: [&str; 3] = ["jti", "client_id", REVOCATIONS];

impl Authenticated<'_> {
    /// The answer to the grant `token-exchange`.
    pub(super) fn exchange(&self) -> Result<Value, OAuthError> {
        if !self.client.may_exchange {
            return Err(refuse("unauthorized_client", "the client may not exchange tokens"));
        }
        let subject = self.subject_token()?;
        let held: Vec<_> = subject.text("scope").unwrap_or_default().split(' ').collect();
        let may_have: Vec<_> =
            self.client.scopes.iter().map(String::as_str).filter(|scope| held.contains(scope)).collect();
        let end = subject.expires_at().unwrap_or(self.now);
        let mut answer = self.issue(Grant {
            scope: self.scope_of(&may_have)?,
            audience: self.audience()?,
            expires_at: end.min(self.latest_end()),
            subject: self.on_behalf_of(&subject)?,
        })?;
        answer["issued_token_type"] = json!(ACCESS_TOKEN);
        Ok(answer)
    }

    /// The token that is exchanged. One that cannot be accepted is an `invalid_request` (RFC 8693, 2.2.2).
    fn subject_token(&self) -> Result<OwnToken, OAuthError> {
        let request = self.request;
        let (token, kind) = (request.subject_token.as_deref(), request.subject_token_type.as_deref());
        let Some((token, kind)) = token.zip(kind) else {
            return Err(refuse("invalid_request", "subject_token or subject_token_type is missing"));
        };
        if kind != ACCESS_TOKEN || request.requested_token_type.as_deref().is_some_and(|kind| kind != ACCESS_TOKEN) {
            return Err(refuse("invalid_request", "only access tokens are exchanged, and only for access tokens"));
        }
        if request.actor_token.is_some() || request.actor_token_type.is_some() {
            return Err(refuse("invalid_request", "the actor is the client: an actor token is not read"));
        }
        let token = self.own_token(token).filter(|token| self.is_good(token)).ok_or(NOT_GOOD)?;
        if token.0.contains_key("cnf") {
            return Err(refuse("invalid_request", "the subject token is bound to a key of its holder"));
        }
        if token.text("aud") != Some(&self.client.id) {
            return Err(refuse("invalid_request", "the subject token is not meant for this client"));
        }
        Ok(token)
    }

    /// The claims by which the client acts for the subject of `token`.
    fn on_behalf_of(&self, token: &OwnToken) -> Result<Object, OAuthError> {
        let before = token.0.get("act");
        let actors = std::iter::successors(before, |act| act.get("act")).count();
        if actors >= MOST_ACTORS {
            return Err(refuse("invalid_request", "too many act for the subject already, one for the other"));
        }
        let mut claims = some_of(&token.0, &OF_THE_SUBJECT);
        let mut act = object(json!({ "sub": self.client.id }));
        act.extend(before.map(|before| ("act".to_owned(), before.clone())));
        claims.insert("act".to_owned(), Value::Object(act));

        let mut issued_from = vec![Value::Object(some_of(&token.0, &OF_THE_TOKEN))];
        issued_from.extend(token.0.get(ISSUED_FROM).and_then(Value::as_array).into_iter().flatten().cloned());
        claims.insert(ISSUED_FROM.to_owned(), Value::Array(issued_from));
        Ok(claims)
    }
}

/// Says nothing of what is wrong with it: it may be somebody else's.
const NOT_GOOD: OAuthError = refuse("invalid_request", "the subject token is not a good access token of this issuer");

fn some_of(claims: &Object, names: &[&str]) -> Object {
    names.iter().filter_map(|name| Some(((*name).to_owned(), claims.get(*name)?.clone()))).collect()
}
