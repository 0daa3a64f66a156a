//! Which tokens are taken back before they expire: one by one (RFC 7009), or all that a client has.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::clients::require_name;
use super::exchange::ISSUED_FROM;
use super::file::{Stored, corrupt, no_such_client};
use super::request::{Authenticated, OAuthError, refuse};
use crate::claims::LEEWAY;
use crate::error::{Error, ErrorKind};
use crate::jose::Object;

/// The claim that says how often all tokens of the client had been revoked when the token was issued. A count and not a
/// time, as `iat` does not tell the tokens of one second apart. Left out while it is zero.
pub(super) const REVOCATIONS: &str = "revocations";

/// How many revoked tokens are kept that have not expired. They are read and written as a whole.
const MOST: usize = 100_000;

/// A token that its client wants to be revoked.
pub(super) struct Revocation {
    pub(super) token_id: String,
    pub(super) expires_at: Timestamp,
}

impl Authenticated<'_> {
    /// What the revocation endpoint has to do: nothing for a token that is not of this issuer, or no longer good anyway
    /// (RFC 7009, 2.2).
    ///
    /// A client may revoke what was issued to it and what speaks in its name. Another client's token is refused by the
    /// error that RFC 6749, 5.2 has for "was issued to another client".
    pub(super) fn revocation(&self) -> Result<Option<Revocation>, OAuthError> {
        let Some(token) = self.request.token.as_deref() else {
            return Err(refuse("invalid_request", "token is missing"));
        };
        let Some(token) = self.own_token(token).filter(|token| !self.is_past(token)) else { return Ok(None) };
        if !["client_id", "sub"].into_iter().any(|claim| token.text(claim) == Some(&self.client.id)) {
            return Err(refuse("invalid_grant", "the token was issued to another client"));
        }
        if self.state.is_revoked(&token.0) {
            return Ok(None);
        }
        let expires_at = token.expires_at().and_then(|end| Timestamp::from_second(end).ok());
        let known = token.text("jti").map(str::to_owned).zip(expires_at);
        Ok(known.map(|(token_id, expires_at)| Revocation { token_id, expires_at }))
    }
}

impl Stored {
    /// Revokes a token for as long as it could be good.
    pub(super) fn revoke(&mut self, revocation: Revocation, now: Timestamp) -> Result<(), Error> {
        let Revocation { token_id, expires_at } = revocation;
        require_name("a token id", &token_id)?;
        if end_of(expires_at) <= now {
            return Ok(());
        }
        if self.revoked.len() >= MOST && !self.revoked.contains_key(&token_id) {
            let message = format!(
                "{MOST} tokens are revoked that have not expired, which is the most that is kept; \
                 revoke all tokens of their client, or wait until some have expired"
            );
            return Err(Error::new(ErrorKind::Storage, message));
        }
        let kept = self.revoked.entry(token_id).or_insert(expires_at);
        *kept = expires_at.max(*kept);
        Ok(())
    }

    /// Revokes all that was issued to a client before.
    pub(super) fn revoke_client(&mut self, id: &str) -> Result<(), Error> {
        let revocations = &mut self.clients.get_mut(id).ok_or_else(|| no_such_client(id))?.revocations;
        *revocations = revocations.checked_add(1).ok_or_else(|| corrupt("the count of a client's revocations"))?;
        Ok(())
    }

    /// Forgets revoked tokens that have expired.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.revoked.retain(|_, expires_at| end_of(*expires_at) > now);
    }
}

/// From when on nobody accepts a token, whose clock may be behind.
fn end_of(expires_at: Timestamp) -> Timestamp {
    expires_at.checked_add(SignedDuration::from_secs(LEEWAY)).unwrap_or(Timestamp::MAX)
}

/// What is revoked, as it is asked for at each token that is verified anew.
pub(super) struct Revoked {
    tokens: HashSet<Box<str>>,
    /// How often all tokens of a client were revoked, where they ever were.
    clients: HashMap<Box<str>, u32>,
}

impl Revoked {
    pub(super) fn of(stored: &Stored) -> Self {
        let clients = stored.clients.iter().filter(|(_, client)| client.revocations > 0);
        Self {
            tokens: stored.revoked.keys().map(|id| id.as_str().into()).collect(),
            clients: clients.map(|(id, client)| (id.as_str().into(), client.revocations)).collect(),
        }
    }

    /// Whether the token of `claims` is revoked, or one of those that it was exchanged for.
    pub(super) fn holds(&self, claims: &Object) -> bool {
        let from = claims.get(ISSUED_FROM).and_then(Value::as_array).into_iter().flatten();
        self.holds_one(claims) || from.filter_map(Value::as_object).any(|token| self.holds_one(token))
    }

    fn holds_one(&self, token: &Object) -> bool {
        let text = |claim| token.get(claim).and_then(Value::as_str);
        let survived = token.get(REVOCATIONS).and_then(Value::as_u64).unwrap_or(0);
        text("jti").is_some_and(|id| self.tokens.contains(id))
            || text("client_id").and_then(|id| self.clients.get(id)).is_some_and(|count| survived < u64::from(*count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::embedded::ClientSpec;

    #[derive(Clone, Debug)]
    enum Step {
        Issue { client: usize },
        Revoke { token: prop::sample::Index },
        RevokeClient { client: usize },
        Wait { seconds: i64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..2usize).prop_map(|client| Step::Issue { client }),
            2 => any::<prop::sample::Index>().prop_map(|token| Step::Revoke { token }),
            1 => (0..2usize).prop_map(|client| Step::RevokeClient { client }),
            2 => (0..600i64).prop_map(|seconds| Step::Wait { seconds }),
        ]
    }

    struct Token {
        claims: Object,
        client: usize,
        expires_at: Timestamp,
        revoked: bool,
    }

    proptest! {
        /// Against the plainest model there is: each token knows whether it was revoked.
        #[test]
        fn a_token_is_held_if_and_only_if_it_was_revoked_as_long_as_it_can_be_good(
            steps in prop::collection::vec(step(), 1..60)
        ) {
            const CLIENTS: [&str; 2] = ["one", "two"];
            let mut stored = Stored::new("https://issuer").expect("made");
            for id in CLIENTS {
                stored.put_client(ClientSpec::new(id, "acme".parse().expect("a tenant")));
            }
            let mut now = Timestamp::from_second(1_900_000_000).expect("in range");
            let mut tokens: Vec<Token> = Vec::new();
            for step in steps {
                match step {
                    Step::Issue { client } => {
                        let id = CLIENTS[client];
                        let count = stored.clients[id].revocations;
                        let claims = json!({"jti": tokens.len().to_string(), "client_id": id, REVOCATIONS: count});
                        let claims = claims.as_object().expect("an object").clone();
                        let expires_at = now + SignedDuration::from_secs(900);
                        tokens.push(Token { claims, client, expires_at, revoked: false });
                    }
                    Step::Revoke { token } => {
                        let count = tokens.len();
                        if count == 0 {
                            continue;
                        }
                        let index = token.index(count);
                        let token = &mut tokens[index];
                        token.revoked = true;
                        let revocation = Revocation { token_id: index.to_string(), expires_at: token.expires_at };
                        stored.revoke(revocation, now).expect("revoked");
                    }
                    Step::RevokeClient { client } => {
                        stored.revoke_client(CLIENTS[client]).expect("revoked");
                        tokens.iter_mut().filter(|token| token.client == client).for_each(|token| token.revoked = true);
                    }
                    Step::Wait { seconds } => {
                        now += SignedDuration::from_secs(seconds);
                        stored.prune(now);
                    }
                }
                let revoked = Revoked::of(&stored);
                for token in tokens.iter().filter(|token| now < end_of(token.expires_at)) {
                    prop_assert_eq!(revoked.holds(&token.claims), token.revoked);
                }
                let good = tokens.iter().filter(|token| now < end_of(token.expires_at)).count();
                prop_assert!(stored.revoked.len() <= good, "what has expired is forgotten");
            }
        }
    }
}
