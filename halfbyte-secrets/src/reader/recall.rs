//! What an earlier process left behind stands in for a backend that is down at start.

use std::pin::pin;

use tokio::time::Instant;

use super::{Next, Origin, Reader, Serve, State};
use crate::boot::Recalled;
use crate::{Ask, Error, ErrorKind, FromSecret, Name, Reading};

impl<T: FromSecret> Reader<T> {
    /// Asks the backend, and where it has not answered yet also what an earlier process left behind. Only if that can stand in
    /// is a backend that does not answer in half of the time taken to be down.
    pub(super) async fn ask(
        &self,
        state: &mut State<T>,
        ask: Ask<'_>,
    ) -> (Result<Reading, Error>, Option<Result<Serve<T>, Error>>) {
        let (asked, patience) = (Instant::now(), self.policy.live.fetch_timeout / 2);
        let mut answer = pin!(self.borrower.read(ask));
        let (mut outcome, mut left_behind) = (None, None);
        if state.generation == 0 && self.boot.may_recall(&state.boot) {
            let mut recalled = pin!(self.recall(ask.name()));
            tokio::select! {
                biased;
                answer = &mut answer => outcome = Some(answer),
                recalled = &mut recalled => left_behind = recalled,
            }
            match &outcome {
                Some(Err(error)) if error.is_temporary() => left_behind = recalled.await,
                None if matches!(left_behind, Some(Ok(_))) => {
                    let answer = tokio::time::timeout_at(asked + patience, &mut answer).await;
                    outcome = Some(answer.unwrap_or_else(|_elapsed| {
                        Err(Error::new(ErrorKind::Unavailable, format!("no answer within {patience:?}")))
                    }));
                }
                _ => {}
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => answer.await,
        };
        match &outcome {
            // What is to be done about it shows when it was parsed.
            Ok(_) => self.boot.answered(&mut state.boot),
            Err(error) if error.is_not_found() || error.is_denied() => self.boot.forget(&mut state.boot, ask.name()),
            Err(error) if error.is_temporary() => {}
            Err(_) => self.boot.answered(&mut state.boot),
        }
        (outcome, left_behind)
    }

    /// What an earlier process left behind.
    async fn recall(&self, name: &Name) -> Option<Result<Serve<T>, Error>> {
        let Recalled { value: bytes, left } = self.boot.recall(name).await?;
        Some(self.parse(&bytes).map(|value| {
            let digest = self.digest(Some(&bytes));
            Serve { value, digest, origin: Origin::Restored(left), version: None, lease: None, instead_of: None }
        }))
    }

    /// What an earlier process left behind stands in for the backend, which could not be asked because of `error`.
    pub(super) fn stand_in(&self, left_behind: Option<Result<Serve<T>, Error>>, error: &Error) -> Option<Next<T>> {
        let serve = left_behind?.inspect_err(|error| self.journal.failed(0, error)).ok()?;
        self.journal.failed(0, error);
        Some(Next::Serve(serve))
    }
}
