use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::signer::{b64, random_text, sha256};

/// Somebody whom the issuer vouches for: what his tokens say of him.
///
/// ```
/// use halfbyte_identity::testing::Persona;
/// use jiff::SignedDuration;
///
/// let ann = Persona::user("ann")
///     .tenant("acme")
///     .scopes(["labels:read", "labels:write"])
///     .roles(["admin"])
///     .acr("phr")
///     .signed_in(SignedDuration::from_mins(5));
/// let billing = Persona::service("billing-job").scopes(["labels:read"]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a persona does nothing until a token is issued for it"]
pub struct Persona {
    claims: Map<String, Value>,
    signed_in: Option<SignedDuration>,
    lifetime: SignedDuration,
}

/// How long a token is good unless said.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

impl Persona {
    /// A person who signed in through the client `browser`.
    pub fn user(subject: &str) -> Self {
        Self { claims: Map::new(), signed_in: None, lifetime: LIFETIME }.claim("sub", subject).client("browser")
    }

    /// A program that acts for itself: the client is the subject, as client credentials have it (RFC 9068, 2.2).
    pub fn service(client: &str) -> Self {
        Self::user(client).client(client)
    }

    /// On whose behalf, and who pays. Without it the subject is a tenant of its own.
    pub fn tenant(self, tenant: &str) -> Self {
        self.claim("tenant", tenant)
    }

    /// The scopes that are granted (`scope`, RFC 8693, 4.2).
    pub fn scopes<'a>(self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes: Vec<_> = scopes.into_iter().collect();
        self.claim("scope", scopes.join(" "))
    }

    /// The roles that the subject has (`roles`, RFC 9068, 2.2.3.1).
    pub fn roles<'a>(self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        let roles: Vec<_> = roles.into_iter().collect();
        self.claim("roles", roles)
    }

    /// How strongly the subject signed in.
    pub fn acr(self, acr: &str) -> Self {
        self.claim("acr", acr)
    }

    /// By what means the subject signed in (RFC 8176).
    pub fn amr<'a>(self, amr: impl IntoIterator<Item = &'a str>) -> Self {
        let amr: Vec<_> = amr.into_iter().collect();
        self.claim("amr", amr)
    }

    /// The subject signed in so long `ago` when a token is issued (`auth_time`).
    pub fn signed_in(mut self, ago: SignedDuration) -> Self {
        self.signed_in = Some(ago);
        self
    }

    /// The session at the issuer (`sid`), by which a logout token ends it.
    pub fn session(self, session: &str) -> Self {
        self.claim("sid", session)
    }

    /// The client that tokens are issued to (`client_id`).
    pub fn client(self, client: &str) -> Self {
        self.claim("client_id", client)
    }

    /// Any claim at all. What is said last counts, also over what the issuer would say itself (`exp`, `iss` and so on).
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// How long tokens are good from when they are issued, 10 minutes unless said; a negative time makes expired ones.
    pub fn expires_in(mut self, lifetime: SignedDuration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Binds tokens to the key of a client by its thumbprint (RFC 9449, 6.1); see [`Holder::bind`](super::Holder::bind).
    pub fn bound_to_key(self, thumbprint: &str) -> Self {
        self.bound("jkt", thumbprint)
    }

    /// Binds tokens to the certificate that `der` is (RFC 8705, 3.1).
    pub fn bound_to_certificate(self, der: &[u8]) -> Self {
        self.bound("x5t#S256", &b64(sha256(der)))
    }

    fn bound(self, member: &str, value: &str) -> Self {
        let mut bindings = self.claims.get("cnf").and_then(Value::as_object).cloned().unwrap_or_default();
        bindings.insert(member.to_owned(), json!(value));
        self.claim("cnf", bindings)
    }

    pub(super) fn lifetime(&self) -> SignedDuration {
        self.lifetime
    }

    /// The claims of a token that `issuer` issues now (RFC 9068, 2.2).
    pub(super) fn claims_for(&self, issuer: &str, audience: &str, now: Timestamp) -> Map<String, Value> {
        let now = now.as_second();
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        say("iss", json!(issuer));
        say("aud", json!(audience));
        say("iat", json!(now));
        say("nbf", json!(now));
        say("exp", json!(now.saturating_add(self.lifetime.as_secs())));
        say("jti", json!(random_text()));
        if let Some(ago) = self.signed_in {
            say("auth_time", json!(now.saturating_sub(ago.as_secs())));
        }
        claims.extend(self.claims.clone());
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(persona: &Persona) -> Value {
        let now = Timestamp::from_second(1_900_000_000).expect("in range");
        let mut claims = persona.claims_for("https://issuer", "parcel", now);
        assert!(claims.remove("jti").is_some());
        Value::Object(claims)
    }

    #[test]
    fn a_persona_says_what_was_said_of_it_and_what_every_token_has() {
        let ann = Persona::user("ann").tenant("acme").scopes(["a", "b"]).roles(["r"]).acr("phr").amr(["pwd"]);
        let ann = ann.session("s").signed_in(SignedDuration::from_secs(90)).claim("cost_center", json!([7]));
        let all = json!({
            "iss": "https://issuer", "aud": "parcel", "iat": 1_900_000_000, "nbf": 1_900_000_000, "exp": 1_900_000_600,
            "sub": "ann", "client_id": "browser", "tenant": "acme", "scope": "a b", "roles": ["r"], "acr": "phr",
            "amr": ["pwd"], "sid": "s", "auth_time": 1_899_999_910, "cost_center": [7],
        });
        assert_eq!(claims(&ann), all);
    }

    #[test]
    fn what_is_said_last_counts_and_bindings_add_up() {
        let bob = Persona::service("bob").expires_in(SignedDuration::from_secs(-60)).claim("iss", "x");
        let bob = claims(&bob.bound_to_key("k").bound_to_certificate(b""));
        assert_eq!((&bob["exp"], &bob["iss"], &bob["client_id"]), (&json!(1_899_999_940), &json!("x"), &json!("bob")));
        let of_nothing = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(bob["cnf"], json!({"jkt": "k", "x5t#S256": of_nothing}));
    }
}
