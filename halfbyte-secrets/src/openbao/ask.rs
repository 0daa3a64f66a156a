//! Asks the server, with another token if the one that there is has ended, and not while it wants to be left alone.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_core::client::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::session::Cause;
use super::token::Token;
use super::wire::Call;
use super::{OpenBao, Server};
use crate::{Error, ErrorKind};

/// The longest that a `Retry-After` is heeded.
const PATIENCE: Duration = Duration::from_secs(60);

impl OpenBao {
    /// Asks with `token`, and once more with another one if that has ended. Answers the token that it asked with last.
    pub(super) async fn ask<B: Serialize>(
        &self,
        call: &Call<'_, B>,
        token: Arc<Token>,
    ) -> Result<(Result<Response, Refused>, Arc<Token>), Error> {
        let Server { wire, session } = &*self.0.server;
        let (mut token, mut response) = (token.clone(), wire.send(call, Some(&token.value)).await?);
        let path = call.path();
        if let Some(refusal) = Refusal::of(&response).filter(Refusal::is_forbidden) {
            let cause = session.cause(wire, &token, &refusal, &path).await?;
            if !matches!(cause, Cause::Policy) {
                token = session.login(wire, Some(token.number)).await?;
                response = wire.send(call, Some(&token.value)).await?;
            }
            if let Cause::Seems(sign) = cause {
                match response.status().as_u16() {
                    403 => session.doubt().was_fruitless(&path, sign, token.number, Instant::now()),
                    _ if is_answer(&response) => session.doubt().helped(),
                    // A server in trouble does not tell.
                    _ => {}
                }
            }
        }
        if is_answer(&response) {
            session.doubt().answered(&path);
        }
        let Some(refusal) = Refusal::of(&response) else { return Ok((Ok(response), token)) };
        if let Some(patience) = refusal.patience() {
            *self.patience() = Some(Instant::now() + patience.min(PATIENCE));
        }
        Ok((Err(Refused { response, refusal }), token))
    }

    /// An error while the server wants to be left alone.
    pub(super) fn heed(&self) -> Result<(), Error> {
        let until = *self.patience();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) if !left.is_zero() => {
                let what =
                    format!("OpenBao asks to be left alone for {} s more, since a quota is used up", left.as_secs());
                Err(Error::new(ErrorKind::Throttled, what))
            }
            _ => Ok(()),
        }
    }

    fn patience(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the token was allowed to ask.
fn is_answer(response: &Response) -> bool {
    response.status().is_success() || response.status() == 404
}

/// An answer that means no.
pub(super) struct Refused {
    pub(super) response: Response,
    pub(super) refusal: Refusal,
}
