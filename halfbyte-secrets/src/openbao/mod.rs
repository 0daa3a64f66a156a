//! OpenBao and HashiCorp Vault: key-value secrets of version 2, credentials that are made on demand, and the login.
//!
//! ```no_run
//! use halfbyte_core::{Clock, Lifecycle};
//! use halfbyte_secrets::Secrets;
//! use halfbyte_secrets::openbao::{Auth, OpenBao};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "openbao://bao.example.com:8200/secret/orders?dynamic=db=database/creds/orders".parse()?;
//! let openbao = OpenBao::from_url(&url, Auth::kubernetes("orders"))?;
//!
//! let secrets = Secrets::new(openbao, &Lifecycle::new(Clock::system()));
//! let password = secrets.get::<String>("smtp-password"); // secret/orders/smtp-password
//! let database = secrets.get::<String>("db"); // made for this process, renewed while it runs, revoked when it ends
//! # Ok(()) }
//! ```
//!
//! # What a secret is
//!
//! - **A key-value secret** whose only field is `value` is that field: text as it is, anything else as JSON. With any other
//!   fields it is the JSON object of all of them. So `bao kv put secret/orders/smtp-password value=...` is a `String`, and
//!   `bao kv put secret/orders/smtp user=... password=...` is a [`Json`](crate::Json).
//! - **A dynamic secret** is the JSON object `{"username":…,"password":…}`, or all that the engine gives if there are no such
//!   fields. Each read makes another credential, lent for a while: a [`Lease`].
//!
//! The value [before](crate::Stage::Previous) a key-value secret's current one is the version below it, if that was neither
//! deleted nor destroyed. A secret whose newest version was deleted is [not found](crate::ErrorKind::NotFound); nothing is ever
//! pending.
//!
//! # What it guarantees
//!
//! - One login serves all secrets: however many wait for it, one is made, and what came of it is the answer to all. After a
//!   refusal the next try waits, 1 s at first and 60 s at most, so that the server does not lock the role out.
//! - The login token is renewed at two thirds of its time, less up to a tenth of that at random. When it cannot be, or is
//!   granted for less than before because `max_ttl` is near, there is a new login instead, at two thirds of what is left.
//! - A 403 is followed by one new login and one more try if the token has ended, is unknown to the server, or was replaced
//!   meanwhile; a policy that forbids is told apart and does not cause logins. Where the server does not tell, one login finds
//!   out; where it is in trouble just then, that counts as any other outage. After a login that did not help the next for such a 403 waits, 10 s at first and five minutes at most, unless what is
//!   refused was answered before.
//! - What is lent ends with the token that it was lent to, so no lease is told to be longer than its token, and after a new
//!   login what was lent before is replaced rather than renewed. Tokens with leases are never revoked before the end.
//! - At the end the leases are given back, then the token that was logged in for. A token that was given is left alone.
//! - The login token, the `secret_id` and the token of a service account are known to the [`firewall`](crate::firewall), as
//!   secrets are, from when they are had: those that were given or logged in for as long as they are kept, those from files
//!   until they are read anew.
//! - Token, credentials and values are in no message, URL, span or `Debug`, and headers that have them are marked sensitive. Of
//!   an error's text only known words are repeated.
//! - Redirects are not followed and no proxy is used. What is received and sent is wiped after use, except in the buffers of
//!   TLS and HTTP.
//!
//! # For the night shift
//!
//! | what happened | what the process does | what to do |
//! |---|---|---|
//! | sealed (503) | serves what it has for the policy's `max_stale`; asks again, at most 30 s apart; dynamic credentials work until their lease ends, then the secret is withdrawn | `bao operator unseal`; nothing here needs a restart |
//! | not there at start | waits, not ready; asks again | start it |
//! | not initialized (501) | the same | wrong address, or `bao operator init` |
//! | standby (472, 473, a redirect) | the same | give it the address of the active server, or let standbys forward |
//! | behind (412) | asks three times more within half a second, then as for any other outage | look at replication |
//! | quota (429) | leaves the server alone for `Retry-After`, up to a minute | raise the quota, or find who uses it up |
//! | the login token ended or was revoked | logs in anew, once, and goes on; dynamic credentials are replaced when next due | nothing |
//! | `max_ttl` of the login token is near | logs in anew before; dynamic credentials are replaced, then the old ones end | nothing |
//! | `max_ttl` of a lease is near | reads another credential before | nothing |
//! | nothing is mounted there any more, or no auth method (404) | denied; serves what it has, and a boot snapshot forgets it: it was taken away | mount or enable it again, or correct mount, path or namespace |
//! | a login is refused | serves what it has; tries again each minute | role, bindings, `secret_id`: a file is read anew each time |
//! | a token that was given ended | [denied](crate::ErrorKind::Denied); the log warned when it could not be renewed any more | give a new one: in the file if it is in one, else with a restart |
//! | 403 otherwise | denied; serves what it has | allow `read` on the path that the message names |
//!
//! The policies that it needs: `read` on `MOUNT/data/PATH/*` and on the paths of dynamic credentials, `update` on
//! `sys/leases/revoke`; the rest is in the policy `default` (`auth/token/lookup-self`, `renew-self`, `revoke-self`,
//! `sys/leases/renew`). Without `sys/leases/revoke` leases end with the login token, which is revoked at the end too; without
//! `lookup-self` a policy that forbids looks like a token that has ended, and costs a login now and then.
//!
//! # What it does not do
//!
//! - It does not hear of changes: a rotation shows with the next read, after a minute unless the policy says otherwise, or at
//!   once when somebody [rejects](crate::Secret::reject) the old value.
//! - It does not work behind a proxy or an agent that keeps answers, or merges requests that are alike: each read of a dynamic
//!   secret has to make another credential, since each is given back by itself.
//! - It reads, and makes nothing that takes a write to be made, such as a certificate of `pki/issue`.
//! - It does not unwrap response-wrapped credentials, and answers no second factor.

mod answer;
mod ask;
mod auth;
mod doubt;
mod leases;
mod refusal;
mod session;
mod settings;
mod token;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::client::Response;
use halfbyte_core::live::Policy;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use self::answer::Kept;
use self::ask::Refused;
pub use self::auth::{Auth, Credential};
use self::leases::Leases;
use self::session::{Keeping, Session};
pub use self::settings::Settings;
use self::token::Token;
use self::wire::{Call, Wire};
use crate::provider::only_current;
use crate::{Ask, Error, ErrorKind, Lease, Name, Provider, Reading, Stage, Version};

/// `openbao://`: a server of OpenBao or HashiCorp Vault. See the [module](self). Clones share the login.
#[derive(Clone)]
pub struct OpenBao(Arc<Inner>);

struct Inner {
    settings: Settings,
    server: Arc<Server>,
    leases: Leases,
    /// Until when the server wants to be left alone.
    patience: Mutex<Option<Instant>>,
    /// What keeps the token; it ends with the provider.
    keeper: Mutex<JoinSet<()>>,
}

struct Server {
    wire: Wire,
    session: Session,
}

impl OpenBao {
    /// A server by its settings. Does no network I/O; a file of certificates is read.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used, or TLS cannot be set up on this machine.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let wire = Wire::new(&settings)?;
        let session = Session::new(settings.auth.clone());
        Ok(Self(Arc::new(Inner {
            settings,
            server: Arc::new(Server { wire, session }),
            leases: Leases::default(),
            patience: Mutex::default(),
            keeper: Mutex::default(),
        })))
    }

    /// A server by its URL: see [`Settings::from_url`], and [`Auth::from_url`] for how to log in.
    ///
    /// # Errors
    ///
    /// As [`Settings::from_url`] and [`new`](Self::new).
    pub fn from_url(url: &Url, auth: Auth) -> Result<Self, Error> {
        Self::new(Settings::from_url(url, auth)?)
    }

    /// Keeps the token from the first use on.
    fn attend(&self) {
        let mut keeper = self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended, by a panic or with its runtime, is no keeper.
        while keeper.try_join_next().is_some() {}
        if keeper.is_empty() {
            keeper.spawn(keep(self.0.server.clone()));
        }
    }

    async fn token(&self) -> Result<Arc<Token>, Error> {
        self.attend();
        let Server { wire, session } = &*self.0.server;
        session.token(wire).await
    }

    /// A key-value secret: that version, or the newest.
    async fn kept(&self, name: &Name, version: Option<u64>) -> Result<Kept, Error> {
        let Settings { mount, path, .. } = &self.0.settings;
        let segments = mount.iter().map(String::as_str).chain(["data"]).chain(path.iter().map(String::as_str));
        let call = Call::get(segments.chain([name.as_str()])).version(version);
        match self.ask(&call, self.token().await?).await? {
            (Ok(response), _) => answer::kept(response.body()),
            (Err(Refused { response, refusal }), _) => {
                // Of a version that was deleted there is this much.
                let deleted = answer::kept(response.body()).ok().filter(|_| response.status() == 404);
                deleted.ok_or_else(|| refusal.error(&call.shown()))
            }
        }
    }

    async fn current(&self, name: &Name, known: Option<&Version>) -> Result<Reading, Error> {
        let Kept { number, created, value } = self.kept(name, None).await?;
        let Some(value) = value else {
            let what = format!("version {number} of {name} was deleted: undelete it, or put another one");
            return Err(Error::new(ErrorKind::NotFound, what));
        };
        let version = Version::new(format!("{number}@{created}"));
        if known == Some(&version) {
            return Ok(Reading::unchanged());
        }
        Ok(Reading { value: Some(value), version: Some(version), lease: None })
    }

    async fn previous(&self, name: &Name) -> Result<Reading, Error> {
        let none = || Error::new(ErrorKind::NotFound, format!("{name} has no version before the newest"));
        let number = self.kept(name, None).await?.number;
        let before = number.checked_sub(1).filter(|before| *before > 0).ok_or_else(none)?;
        let Kept { number, created, value } = self.kept(name, Some(before)).await?;
        let version = Version::new(format!("{number}@{created}"));
        Ok(Reading { value: Some(value.ok_or_else(none)?), version: Some(version), lease: None })
    }

    async fn lent(&self, path: &[String]) -> Result<Reading, Error> {
        self.attend();
        let Server { wire, session } = &*self.0.server;
        let call = Call::get(path.iter().map(String::as_str));
        let (answer, token) = self.ask(&call, session.token_to_borrow(wire).await?).await?;
        let response = answer.map_err(|refused| refused.refusal.error(&call.shown()))?;
        let answer::Lent { value, lease } = answer::lent(response.body())?;
        let lease = match lease {
            Some(lease) => Some(self.within(&token, lease).await),
            None => None,
        };
        Ok(Reading { value: Some(value), version: None, lease })
    }

    /// The lease as long as it lasts: it ends with the token, which is renewed first if that helps.
    async fn within(&self, token: &Arc<Token>, lease: Lease) -> Lease {
        let Server { wire, session } = &*self.0.server;
        let is_short = |token: &Token| token.left(Instant::now()).is_some_and(|left| left < lease.ttl());
        let renewed =
            if is_short(token) && token.is_renewable() { session.renew(wire, token).await.ok() } else { None };
        let token = renewed.as_ref().filter(|renewed| renewed.number == token.number).unwrap_or(token);
        let now = Instant::now();
        let ttl = token.left(now).map_or(lease.ttl(), |left| left.min(lease.ttl()));
        // The token may be renewed, and then it lasts.
        let lease = Lease::new(lease.id(), ttl).renewable(lease.is_renewable()).lasting(lease.ttl());
        self.0.leases.enter(&lease, token.number, now);
        lease
    }

    /// Asks about `lease` at `path`.
    async fn of_lease(&self, path: &str, lease: &Lease) -> Result<(Response, Arc<Token>), Error> {
        let body = json!({ "lease_id": lease.id() });
        let call = Call::post(path, &body);
        let (answer, token) = self.ask(&call, self.token().await?).await?;
        Ok((answer.map_err(|refused| refused.refusal.error(&call.shown()))?, token))
    }

    /// What was lent to a token that was replaced ends with it, and cannot be renewed past that.
    fn check(&self, lease: &Lease, token: &Token) -> Result<(), Error> {
        match self.0.leases.login(lease) {
            Some(login) if login != token.number => {
                self.0.leases.forget(lease);
                let what = "the login token that it was lent to was replaced, so another credential is needed";
                Err(Error::new(ErrorKind::NotFound, what))
            }
            _ => Ok(()),
        }
    }
}

/// Does what is due about the token, for as long as somebody may need it.
async fn keep(server: Arc<Server>) {
    let Server { wire, session } = &*server;
    let mut keeping = Keeping::default();
    loop {
        match session.keep(wire, &mut keeping).await {
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = session.changed.notified() => {}
            },
            None => session.changed.notified().await,
        }
    }
}

impl Provider for OpenBao {
    const NAME: &'static str = "openbao:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        self.heed()?;
        match (self.0.settings.dynamic_path(ask.name()), ask.stage()) {
            (Some(path), _) => {
                only_current(&ask)?;
                self.lent(path).await
            }
            (None, Stage::Current) => self.current(ask.name(), ask.known()).await,
            (None, Stage::Previous) => self.previous(ask.name()).await,
            (None, Stage::Pending) => {
                let what = "a key-value store has no value that is about to be current";
                Err(Error::new(ErrorKind::NotFound, what))
            }
        }
    }

    fn lends(&self, name: &Name) -> bool {
        self.0.settings.dynamic_path(name).is_some()
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, Error> {
        self.check(lease, &*self.token().await?)?;
        let (response, token) = self.of_lease("sys/leases/renew", lease).await?;
        // There may have been a login in between.
        self.check(lease, &token)?;
        Ok(self.within(&token, answer::renewed(response.body())?).await)
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Error> {
        self.0.leases.forget(lease);
        self.of_lease("sys/leases/revoke", lease).await.map(drop)
    }

    async fn close(&self) {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let Server { wire, session } = &*self.0.server;
        session.close(wire).await;
    }

    fn policy(&self) -> Policy {
        self.0.settings.policy.clone()
    }
}

fn provider_policy() -> Policy {
    Policy { fresh_for: Duration::from_secs(60), ..Policy::default() }
}

/// Shows where it is, and how it logs in without what it logs in with.
impl fmt::Debug for OpenBao {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenBao").field(&self.0.settings).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_secrets_are_lent_and_others_are_not() {
        let url = "openbao+http://127.0.0.1:1/secret/app?dynamic=db=database/creds/app".parse().expect("a URL");
        let openbao = OpenBao::from_url(&url, Auth::token("s.hunter2")).expect("made");
        for (name, lends) in [("db", true), ("db2", false)] {
            assert_eq!(openbao.lends(&Name::new(name).expect("a name")), lends, "{name}");
        }
    }

    #[tokio::test]
    async fn the_token_is_kept_again_when_who_kept_it_has_ended() {
        let url = "openbao+http://127.0.0.1:1/secret/app".parse().expect("a URL");
        let openbao = OpenBao::from_url(&url, Auth::token("s.hunter2")).expect("made");
        let keepers = || openbao.0.keeper.lock().expect("not poisoned");
        openbao.attend();
        openbao.attend();
        assert_eq!(keepers().len(), 1);
        keepers().abort_all();
        tokio::task::yield_now().await;
        openbao.attend();
        assert_eq!(keepers().len(), 1);
        assert!(keepers().try_join_next().is_none(), "it is at work");
    }
}
