//! The claim on an export: who has it sends, and nobody else.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{Exported, Outbox, Position};
use crate::{Error, ErrorKind};

const TTL: Duration = Duration::from_secs(30);
/// How long after it was asked for a claim is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// Until a renewal is tried again that did not work.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait for the store.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Claim {
    outbox: Arc<dyn Outbox>,
    name: Arc<str>,
    holder: Uuid,
    held: Option<Held>,
}

struct Held {
    position: Position,
    renew_at: Instant,
    until: Instant,
}

/// Why there is no claim, or no more.
#[derive(Debug)]
pub(super) enum Lost {
    /// Another has it, or had it for a while.
    ToAnother,
    Store(Error),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Lost::Store(error)
    }
}

impl Claim {
    pub(super) fn new(outbox: Arc<dyn Outbox>, name: Arc<str>) -> Self {
        Self { outbox, name, holder: Uuid::now_v7(), held: None }
    }

    /// When [`hold`](Self::hold) has something to do next; `None` without a claim.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.renew_at)
    }

    /// Takes the claim, or renews it when that is due; answers how far the export has come.
    pub(super) async fn hold(&mut self) -> Result<Position, Lost> {
        // From before the question, so that we never believe in a claim for longer than the store does.
        let now = Instant::now();
        if let Some(held) = &self.held
            && now < held.renew_at
        {
            return Ok(held.position.clone());
        }
        match within(self.outbox.claim(&self.name, self.holder, TTL)).await {
            Ok(Some(position)) => {
                // Somebody went on between our claim and this one.
                if self.held.take().is_some_and(|held| held.position != position) {
                    return Err(Lost::ToAnother);
                }
                self.held = Some(Held { position: position.clone(), renew_at: now + RENEW, until: now + TTL });
                Ok(position)
            }
            Ok(None) => {
                self.held = None;
                Err(Lost::ToAnother)
            }
            Err(error) => match &mut self.held {
                Some(held) if now + PATIENCE < held.until => {
                    held.renew_at = Instant::now() + RETRY;
                    Ok(held.position.clone())
                }
                _ => {
                    self.held = None;
                    Err(Lost::Store(error))
                }
            },
        }
    }

    /// The next events of the outbox.
    pub(super) async fn read(&self, after: &Position, limit: usize) -> Result<Vec<Exported>, Lost> {
        Ok(within(self.outbox.read(after, limit)).await?)
    }

    /// Keeps how far the export has come.
    pub(super) async fn advance(&mut self, to: &Position) -> Result<(), Lost> {
        match within(self.outbox.advance(&self.name, self.holder, to)).await {
            Ok(true) => {
                if let Some(held) = &mut self.held {
                    held.position = to.clone();
                }
                Ok(())
            }
            Ok(false) => {
                self.held = None;
                Err(Lost::ToAnother)
            }
            // It may have been kept or not; the next claim tells.
            Err(error) => {
                self.held = None;
                Err(Lost::Store(error))
            }
        }
    }

    /// Gives the claim up, so that another need not wait until it runs out.
    pub(super) async fn release(self) {
        if self.held.is_some()
            && let Err(error) = within(self.outbox.claim(&self.name, self.holder, Duration::ZERO)).await
        {
            tracing::debug!(export = %self.name, %error, "the claim on an export runs out by itself");
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::new(ErrorKind::Timeout, format!("the store did not answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::super::memory::Memory;
    use super::*;

    fn claim(memory: &Memory) -> Claim {
        Claim::new(Arc::new(memory.clone()), "export".into())
    }

    #[tokio::test(start_paused = true)]
    async fn who_slept_through_the_turn_of_another_notices_it_and_goes_on_from_there() {
        let memory = Memory::with(9);
        let (mut sleeper, mut other) = (claim(&memory), claim(&memory));
        assert_eq!(sleeper.hold().await.expect("free"), Position::START);
        advance(TTL).await;
        other.hold().await.expect("the first claim ran out");
        other.advance(&Position::new("5")).await.expect("held");
        other.release().await;
        assert!(matches!(sleeper.hold().await, Err(Lost::ToAnother)), "what it has in hand was sent by the other");
        assert_eq!(sleeper.hold().await.expect("free"), Position::new("5"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_lost_its_claim_keeps_no_position() {
        let memory = Memory::with(9);
        let mut claim = claim(&memory);
        claim.hold().await.expect("free");
        memory.steal("export", TTL);
        assert!(matches!(claim.advance(&Position::new("5")).await, Err(Lost::ToAnother)));
        assert_eq!((memory.position("export"), claim.renew_at()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_answer_that_got_lost_the_store_is_asked_how_far_it_is() {
        let memory = Memory::with(9);
        let mut claim = claim(&memory);
        claim.hold().await.expect("free");
        memory.lose_answers(1);
        assert!(matches!(claim.advance(&Position::new("5")).await, Err(Lost::Store(_))));
        assert_eq!(claim.hold().await.expect("still ours"), Position::new("5"));
    }
}
