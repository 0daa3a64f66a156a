//! The login token: made by one login for all who need it, renewed ahead of its end, replaced when it cannot be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_core::fingerprint::Fingerprint;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::Instant;

use super::answer::{self, Granted};
use super::auth::{Auth, Proof};
use super::doubt::{Doubt, Sign};
use super::refusal::Refusal;
use super::token::{Life, Next, Token};
use super::wire::{Call, Wire};
use crate::{Error, ErrorKind};

const RENEW: &str = "auth/token/renew-self";
const REVOKE: &str = "auth/token/revoke-self";
const LOOK: [&str; 3] = ["auth", "token", "lookup-self"];

/// The wait after a login that was refused; it doubles with each further one. Servers lock out who tries too often.
const REFUSED: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// The shortest and the longest wait after a renewal that failed.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

pub(super) struct Session {
    auth: Auth,
    state: Mutex<State>,
    doubt: Mutex<Doubt>,
    /// Whoever logs in or renews holds it.
    turn: Turn<()>,
    /// There is another token to keep.
    pub(super) changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// What was shown last to be let in, for the leak firewall.
    shown: Option<Fingerprint>,
    /// How many attempts to log in are over, and what came of the last one.
    attempts: u64,
    failure: Option<Failure>,
    /// How many logins were refused in a row.
    refused: u32,
    is_closed: bool,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// A policy.
    Policy,
    /// It ended, or was replaced meanwhile.
    End,
    /// It seems to have ended, and a login will tell.
    Seems(Sign),
}

struct Failure {
    error: Error,
    /// Until when nobody tries again.
    rest: Instant,
}

impl Session {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, state: Mutex::default(), doubt: Mutex::default(), turn: Turn::new(()), changed: Arc::default() }
    }

    /// The token to ask with. The first who needs one logs in.
    pub(super) async fn token(&self, wire: &Wire) -> Result<Arc<Token>, Error> {
        match self.current() {
            // One that was given is worth a try: the server knows better.
            Some(token) if token.is_given || !token.has_ended(Instant::now()) => Ok(token),
            other => self.login(wire, other.map(|token| token.number)).await,
        }
    }

    /// A token to borrow with: what is lent ends with it, so it must not be near its end.
    pub(super) async fn token_to_borrow(&self, wire: &Wire) -> Result<Arc<Token>, Error> {
        let token = self.token(wire).await?;
        if !token.is_spent(Instant::now()) {
            return Ok(token);
        }
        match self.login(wire, Some(token.number)).await {
            // What is left of it is better than nothing.
            Err(_) if !token.has_ended(Instant::now()) => Ok(token),
            login => login,
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Token>> {
        self.state().token.clone()
    }

    /// Why the server refused `token` what is at `path`. It is an error, and no denial, if the server is in trouble when it is
    /// asked about the token.
    pub(super) async fn cause(
        &self,
        wire: &Wire,
        token: &Token,
        refusal: &Refusal,
        path: &str,
    ) -> Result<Cause, Error> {
        let is_current = self.current().is_some_and(|current| current.number == token.number);
        if !is_current || token.has_ended(Instant::now()) {
            return Ok(Cause::End);
        }
        let sign = if refusal.is_of_token() {
            Sign::Word
        } else {
            // OpenBao says "permission denied" to both; what a token is mostly allowed tells them apart.
            let looked = wire.send(&Call::get(LOOK), Some(&token.value)).await;
            match looked.map(|response| Refusal::of(&response)) {
                Ok(None) => {
                    self.doubt().looked();
                    return Ok(Cause::Policy);
                }
                Ok(Some(refusal)) => known(path, refusal.error("the look at the login token"))?,
                Err(error) => known(path, error)?,
            }
            Sign::Look
        };
        match self.doubt().is_worth_a_login(path, sign, Instant::now()) {
            true => Ok(Cause::Seems(sign)),
            false => Ok(Cause::Policy),
        }
    }

    pub(super) fn doubt(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another token than number `unfit`: made by one login for all who ask meanwhile. What that came to is the answer to all.
    pub(super) async fn login(&self, wire: &Wire, unfit: Option<u64>) -> Result<Arc<Token>, Error> {
        let seen = self.state().attempts;
        let _turn = self.turn.lock().await;
        let (before, number) = {
            let state = self.state();
            if state.is_closed {
                return Err(Error::new(ErrorKind::Unavailable, "the provider was closed, since the process ends"));
            }
            if let Some(token) = state.token.as_ref().filter(|token| Some(token.number) != unfit) {
                return Ok(token.clone());
            }
            match &state.failure {
                Some(failure) if state.attempts > seen || Instant::now() < failure.rest => {
                    return Err(failure.error.clone());
                }
                _ => (state.token.clone(), state.token.as_ref().map_or(1, |token| token.number + 1)),
            }
        };
        let outcome = self.obtain(wire, before.as_deref(), number).await;
        let mut state = self.state();
        state.attempts += 1;
        match outcome {
            Ok(token) => {
                let token = Arc::new(token);
                (state.failure, state.refused) = (None, 0);
                state.token = Some(token.clone());
                drop(state);
                self.changed.notify_one();
                tracing::info!(target: "halfbyte::secrets", number, "logged in to OpenBao");
                Ok(token)
            }
            Err(error) => {
                state.refused = if error.is_temporary() { 0 } else { state.refused + 1 };
                let wait = if error.is_throttled() { REFUSED } else { rest(state.refused) };
                state.failure = Some(Failure { error: error.clone(), rest: Instant::now() + wait });
                Err(error)
            }
        }
    }

    async fn obtain(&self, wire: &Wire, before: Option<&Token>, number: u64) -> Result<Token, Error> {
        let asked = Instant::now();
        let (proof, known) = self.auth.proof().await.map_err(|error| {
            // That a credential is not there does not say that a secret is not.
            let kind = if error.is_not_found() { ErrorKind::Unavailable } else { error.kind() };
            Error::new(kind, "what to log in to OpenBao with cannot be read").with_source(error)
        })?;
        // For longer than the login takes, and whatever comes of it: it can be shown again.
        self.state().shown = Some(known);
        let login = match proof {
            Proof::Token(token) => return given(wire, token, before, number).await,
            Proof::Login(login) => login,
        };
        let path = &login.path;
        let response = wire.send(&Call::post(path, &login), None).await?;
        if let Some(refusal) = Refusal::of(&response) {
            return Err(refusal.login_error(&format!("the login at {path}")));
        }
        let granted = answer::granted(response.body())?;
        if granted.token.expose_secret().is_empty() {
            let what = "OpenBao wants more than one proof for this login; give the role a login without MFA";
            return Err(Error::new(ErrorKind::Denied, what));
        }
        let life = life(&granted, asked);
        Ok(Token::new(granted.token, number, false, life))
    }

    /// Renews `token`, unless somebody has meanwhile, and answers what is held then.
    pub(super) async fn renew(&self, wire: &Wire, token: &Arc<Token>) -> Result<Arc<Token>, Error> {
        let _turn = self.turn.lock().await;
        let Some(current) = self.current() else { return Ok(token.clone()) };
        if current.number != token.number || !current.is_renewable() || !current.is_used(Instant::now()) {
            return Ok(current);
        }
        let asked = Instant::now();
        let response = wire.send(&Call::post(RENEW, &json!({})), Some(&current.value)).await?;
        if let Some(refusal) = Refusal::of(&response) {
            return Err(refusal.error("the renewal of the login token"));
        }
        let granted = answer::granted(response.body())?;
        let is_renewable = granted.is_renewable;
        let renewed = current.renewed(Life { ttl: granted.ttl, is_renewable, granted: asked });
        let renewed = Arc::new(renewed);
        self.state().token = Some(renewed.clone());
        tracing::debug!(target: "halfbyte::secrets", ttl = granted.ttl.as_secs(), "the login token was renewed");
        if renewed.is_given && !renewed.is_renewable() {
            tracing::warn!(
                target: "halfbyte::secrets",
                left = granted.ttl.as_secs(),
                "the token for OpenBao that was given cannot be renewed any more: give a new one before it ends",
            );
        }
        Ok(renewed)
    }

    /// Does what is due about the token, as long as there is something to be due. Answers when to come again.
    pub(super) async fn keep(&self, wire: &Wire, kept: &mut Keeping) -> Option<Instant> {
        let token = self.current()?;
        let now = Instant::now();
        let due = match (kept.due(&token), token.next(kept.random)) {
            (_, Next::Nothing) => return None,
            (again, Next::Renew(due) | Next::Replace(due)) => again.unwrap_or(due),
        };
        if now < due {
            return Some(due);
        }
        let outcome = match token.next(kept.random) {
            Next::Renew(_) => self.renew(wire, &token).await,
            _ => self.login(wire, Some(token.number)).await,
        };
        match outcome {
            Ok(_) => *kept = Keeping::default(),
            // It cannot be renewed, whatever it said of itself.
            Err(error) if !error.is_temporary() && !token.is_given && token.is_renewable() => {
                log(&error);
                match self.login(wire, Some(token.number)).await {
                    Ok(_) => *kept = Keeping::default(),
                    Err(error) => kept.failed(&token, &error),
                }
            }
            Err(error) => kept.failed(&token, &error),
        }
        Some(kept.again.map_or(now, |(_, again)| again))
    }

    /// Gives back the token that was logged in for, and logs in no more.
    pub(super) async fn close(&self, wire: &Wire) {
        let _turn = self.turn.lock().await;
        let token = {
            let mut state = self.state();
            state.is_closed = true;
            state.token.take()
        };
        self.changed.notify_one();
        let Some(token) = token.filter(|token| !token.is_given) else { return };
        let outcome = wire.send(&Call::post(REVOKE, &json!({})), Some(&token.value)).await;
        let refusal = outcome.map(|response| Refusal::of(&response));
        match refusal.map(|refusal| refusal.map(|refusal| refusal.error("giving back the login token"))) {
            Ok(None) => tracing::info!(target: "halfbyte::secrets", "the login token for OpenBao was given back"),
            Ok(Some(error)) | Err(error) => log(&error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That the look at a token came to `error` says nothing of it if that is temporary.
fn known(path: &str, error: Error) -> Result<(), Error> {
    if !error.is_temporary() {
        return Ok(());
    }
    let what =
        format!("OpenBao refused {path}, and did not say whether by a policy or because the login token has ended");
    Err(Error::new(error.kind(), what).with_source(error))
}

/// Looks at a token that was given: how long it lasts.
async fn given(wire: &Wire, token: SecretString, before: Option<&Token>, number: u64) -> Result<Token, Error> {
    if before.is_some_and(|before| before.value.expose_secret() == token.expose_secret()) {
        let what = "the token for OpenBao that was given has ended or was revoked, or its policies allow neither what was asked \
             nor lookup-self; there is no other: give a new one";
        return Err(Error::new(ErrorKind::Denied, what));
    }
    let asked = Instant::now();
    let looked = wire.send(&Call::get(LOOK), Some(&token)).await?;
    let life = match Refusal::of(&looked) {
        None => life(&answer::looked(looked.body())?, asked),
        // It may be good all the same, for other things than to look at itself.
        Some(refusal) if refusal.is_forbidden() => None,
        Some(refusal) => return Err(refusal.login_error("the look at the token that was given")),
    };
    Ok(Token::new(token, number, true, life))
}

/// Between two looks at the token.
pub(super) struct Keeping {
    random: f64,
    /// After a failure: of which token, and when to try again.
    again: Option<(u64, Instant)>,
    failures: u32,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { random: fastrand::f64(), again: None, failures: 0 }
    }
}

impl Keeping {
    fn due(&self, token: &Token) -> Option<Instant> {
        self.again.filter(|(number, _)| *number == token.number).map(|(_, again)| again)
    }

    fn failed(&mut self, token: &Token, error: &Error) {
        let now = Instant::now();
        self.failures += 1;
        if self.failures.is_power_of_two() {
            log(error);
        }
        let left = token.left(now).filter(|left| !left.is_zero());
        self.again = Some((token.number, now + again(self.failures, left)));
    }
}

/// How long a login waits after `refused` refusals in a row.
fn rest(refused: u32) -> Duration {
    match refused {
        0 => Duration::ZERO,
        refused => REFUSED.saturating_mul(1u32.checked_shl(refused - 1).unwrap_or(u32::MAX)).min(MOST),
    }
}

/// How long a renewal waits after `failures` in a row, and no longer than half of what is left.
fn again(failures: u32, left: Option<Duration>) -> Duration {
    let (least, most) = AGAIN;
    let doubled = least.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
    left.map_or(doubled, |left| doubled.min((left / 2).max(least)))
}

fn life(granted: &Granted, asked: Instant) -> Option<Life> {
    let Granted { ttl, is_renewable, .. } = *granted;
    (!ttl.is_zero()).then_some(Life { ttl, is_renewable, granted: asked })
}

fn log(error: &Error) {
    let error = halfbyte_core::error_chain(error);
    tracing::warn!(target: "halfbyte::secrets", error, "the login token for OpenBao could not be kept");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_rests_longer_each_time() {
        for (refused, seconds) in [(0, 0), (1, 1), (2, 2), (5, 16), (7, 60), (40, 60), (u32::MAX, 60)] {
            assert_eq!(rest(refused), Duration::from_secs(seconds), "{refused}");
        }
    }

    #[test]
    fn a_failed_renewal_is_tried_again_before_the_token_ends() {
        let left = |seconds| Some(Duration::from_secs(seconds));
        for (failures, left, millis) in [
            (1, None, 250),
            (2, None, 500),
            (20, None, 30_000),
            (20, left(10), 5_000),
            (20, left(1), 500),
            (3, left(0), 250),
            (u32::MAX, left(100), 30_000),
        ] {
            assert_eq!(again(failures, left), Duration::from_millis(millis), "{failures} {left:?}");
        }
    }
}
