use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::Clock;
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::persona::Persona;
use super::server::{self, Shared};
use super::signer::{Signer, random_text};
use crate::error::{Error, ErrorKind};
use crate::jose::Algorithm;

/// An OpenID Connect issuer on a free port of this machine that does what a test tells it, also what no issuer should.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), halfbyte_identity::Error> {
/// use halfbyte_identity::testing::{Issuer, Outage, Persona};
///
/// let issuer = Issuer::start().await?;
/// let token = issuer.token(&Persona::user("ann").tenant("acme"), "parcel");
/// issuer.rotate();
/// issuer.outage(Outage::Hang);
/// # Ok(()) }
/// ```
///
/// It answers discovery (OpenID Connect Discovery 1.0), its keys, and the token (client credentials), introspection
/// (RFC 7662) and revocation (RFC 7009) endpoints, over plain HTTP. Each answer closes its connection, so that an outage
/// begins with the next request. Dropping it closes its port.
pub struct Issuer {
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// In what way an issuer is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Outage {
    /// In none: it answers.
    #[default]
    None,
    /// Connections are closed as soon as they are made.
    Refuse,
    /// Requests are taken and not answered until the outage changes.
    Hang,
    /// Every answer has this status and no body.
    Error(StatusCode),
    /// Every answer is 200 with a page in HTML, as of a proxy in between.
    Garbage,
}

impl Issuer {
    /// Listens on a free port of 127.0.0.1, on the clock of this machine.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with_clock(Clock::system()).await
    }

    /// The same, where `clock` tells the time: that of the product, when the test moves it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_clock(clock: Clock) -> Result<Self, Error> {
        let no_port =
            |error| Error::new(ErrorKind::Issuer, "the test issuer cannot listen on 127.0.0.1").caused_by(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
        let id = format!("http://{}", listener.local_addr().map_err(no_port)?);
        let shared = Arc::new(Shared::new(id, clock));
        let mut server = JoinSet::new();
        server.spawn(server::run(listener, shared.clone()));
        Ok(Self { shared, _server: server })
    }

    /// The issuer identifier: what `iss` is.
    pub fn id(&self) -> &str {
        self.shared.id()
    }

    /// What `HALFBYTE_IDENTITY_URL` must be for a product to accept its tokens.
    pub fn config_url(&self) -> String {
        self.id().to_owned()
    }

    /// An access token for `persona` (RFC 9068), good for `audience`, signed with the current key.
    pub fn token(&self, persona: &Persona, audience: &str) -> String {
        let claims = Value::Object(persona.claims_for(self.id(), audience, self.shared.now()));
        let signer = self.signer();
        signer.token(signer.header().to_string(), claims.to_string())
    }

    /// A token of any header and payload at all, as JSON or not, signed with the current key: for what no good issuer
    /// makes.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.signer().token(header, payload)
    }

    /// The header of the access tokens that it issues now, in JSON: a beginning for [`sign`](Self::sign).
    pub fn header(&self) -> String {
        self.signer().header().to_string()
    }

    /// An access token that says nothing to whoever reads it: the product has to ask by introspection.
    pub fn opaque_token(&self, persona: &Persona, audience: &str) -> String {
        let claims = persona.claims_for(self.id(), audience, self.shared.now());
        let token = format!("{}{}", random_text(), random_text());
        self.shared.state().opaque.insert(token.clone(), claims);
        token
    }

    /// A logout token (OpenID Connect Back-Channel Logout 1.0, 2.4) for `audience`: of `subject`, of one session, or both.
    pub fn logout_token(&self, subject: Option<&str>, session: Option<&str>, audience: &str) -> String {
        let now = self.shared.now().as_second();
        let mut claims = json!({
            "iss": self.id(), "aud": audience, "iat": now, "exp": now.saturating_add(120), "jti": random_text(),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        for (name, value) in [("sub", subject), ("sid", session)] {
            if let Some(value) = value {
                claims[name] = json!(value);
            }
        }
        let signer = self.signer();
        let mut header = signer.header();
        header["typ"] = json!("logout+jwt");
        signer.token(header.to_string(), claims.to_string())
    }

    /// Says by introspection that `token` is no longer good. A product that does not ask does not hear of it.
    pub fn revoke(&self, token: &str) {
        self.shared.revoke(token);
    }

    /// Registers a client by its secret, for all three endpoints; again with another secret changes it.
    pub fn client(&self, id: &str, secret: &str) {
        self.shared.state().clients.insert(id.to_owned(), secret.into());
    }

    /// Signs with a new key from now on. It is published at once, and so are those before it until
    /// [`forget_old_keys`](Self::forget_old_keys).
    ///
    /// RSA keys take long to make: all issuers of a process share one, and a rotation gives it a new `kid` only.
    pub fn rotate(&self) {
        self.rotate_unpublished();
        self.publish();
    }

    /// Signs with a new key from now on that nobody can fetch before [`publish`](Self::publish).
    pub fn rotate_unpublished(&self) {
        let algorithm = self.signer().algorithm();
        self.shared.state().rotate(algorithm);
    }

    /// Publishes the current key.
    pub fn publish(&self) {
        self.shared.state().publish();
    }

    /// Publishes no keys any longer that are not the current one.
    pub fn forget_old_keys(&self) {
        self.shared.state().forget_old_keys();
    }

    /// Rotates to a key for `algorithm`; the first one is for ES256.
    ///
    /// # Panics
    ///
    /// `algorithm` is symmetric: there is nothing to publish.
    pub fn algorithm(&self, algorithm: Algorithm) {
        let mut state = self.shared.state();
        state.rotate(algorithm);
        state.publish();
    }

    /// Is out of order in this way from now on; [`Outage::None`] ends it.
    pub fn outage(&self, outage: Outage) {
        self.shared.set_outage(outage);
    }

    /// Takes that long for each answer from now on.
    pub fn slow(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Has a clock that is off by that much from now on: `iat`, `nbf` and `exp` are too late, or too early when negative.
    pub fn skew(&self, skew: SignedDuration) {
        self.shared.state().skew = skew;
    }

    /// How often its keys were asked for, also during an outage, as far as there was a connection.
    pub fn fetches(&self) -> usize {
        self.fetches_of(server::KEYS)
    }

    /// How often `path` was asked for, if it is one that it answers: `/.well-known/openid-configuration`, `/jwks`,
    /// `/token`, `/introspect` or `/revoke`.
    pub fn fetches_of(&self, path: &str) -> usize {
        self.shared.fetches_of(path)
    }

    pub(super) fn signer(&self) -> Arc<Signer> {
        self.shared.state().current()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Issuer {
    /// Lets go of the requests that hang.
    fn drop(&mut self) {
        self.shared.set_outage(Outage::Refuse);
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("id", &self.id()).finish_non_exhaustive()
    }
}
