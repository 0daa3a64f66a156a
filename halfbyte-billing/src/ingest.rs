//! Taking in usage events.

use std::sync::Arc;

use halfbyte_core::TenantId;

use crate::committer::{Command, Ingested, Taken};
use crate::event::{Correction, Event, EventError};
use crate::store::{Entry, Outcome};
use crate::{Billing, Error, ErrorKind, assemble};

/// The most events that one call takes.
pub const MAX_BATCH: usize = 1000;

/// An event can be amended so often, each time what was amended before.
const MAX_AMENDMENTS: usize = 100;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// It is counted, and durable.
    Counted {
        /// So many of its units nothing was left for, in the smallest unit.
        overage: u64,
    },
    /// It was there already, with the same content: nothing has changed.
    Duplicate,
    /// Its source and id were used before for something else. What was there first stays.
    Conflict,
    /// Its period is closed. It is kept for restatement and does not count.
    Late,
    /// What it amends or voids is not there, or is another's, or was amended or voided before. What was amended is amended
    /// again by naming the amendment; a void stays.
    NothingToCorrect,
    /// The store cannot be written. It is on the disk of this machine, durable, and is counted when the store is there again.
    Spooled,
}

impl Billing {
    /// Takes in a usage event: counts it exactly once for its source and id, for whoever its subject is, and answers when
    /// that is durable.
    ///
    /// Not cancel safe in the sense that a call that was given up may have counted the event; sending it again is always right.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: the event cannot be counted by the meters of its type, is further in the future than clocks
    /// differ, or nobody is known who pays for its subject; or the database refuses just this event. [`ErrorKind::Unavailable`]: neither the store nor the journal can
    /// be written, or the store is needed to read what is corrected.
    pub async fn ingest(&self, event: Event) -> Result<Receipt, Error> {
        let receipt = self.ingest_batch(vec![event]).await?.pop();
        receipt.ok_or_else(crate::committer::closed)?
    }

    /// As [`ingest`](Self::ingest) for several, in their order, in one commit: all are durable or none. An event that is not
    /// valid does not keep the others from being counted; where it is the database that refuses it, they take several commits.
    ///
    /// # Errors
    ///
    /// More than [`MAX_BATCH`] events ([`ErrorKind::Invalid`]), or as for `ingest` where it is about all of them.
    pub async fn ingest_batch(&self, events: Vec<Event>) -> Result<Vec<Result<Receipt, Error>>, Error> {
        if events.len() > MAX_BATCH {
            let message = format!("{} events in one call; send at most {MAX_BATCH}", events.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let mut all = Vec::new();
        if events.iter().any(Event::corrects) {
            all.clone_from(&events);
            // What is queued may be what is corrected.
            self.commit_queue(false).await?;
        }
        let mut good = Vec::with_capacity(events.len());
        let mut answers = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            match self.entry(event, all.get(..index).unwrap_or_default()).await {
                Ok(Some(entry)) => {
                    good.push(Ingested { entry: Arc::new(entry), release: None });
                    answers.push(None);
                }
                Ok(None) => answers.push(Some(Ok(Receipt::NothingToCorrect))),
                Err(error) if error.kind() == ErrorKind::Invalid => answers.push(Some(Err(error))),
                Err(error) => return Err(error),
            }
        }
        let mut receipts = self.take(good).await?.into_iter();
        let answer = |known: Option<Result<Receipt, Error>>| {
            known.or_else(|| receipts.next()).unwrap_or_else(|| Err(crate::committer::closed()))
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Hands events to the committer and waits for it.
    pub(crate) async fn take(&self, events: Vec<Ingested>) -> Result<Vec<Result<Receipt, Error>>, Error> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let taken = self.ask(|answer| Command::Ingest { events, answer }).await?;
        Ok(taken.into_iter().map(receipt).collect())
    }

    /// What an event changes, and for whom; `None` if what it corrects is not there. `before` has what came before it in
    /// its batch.
    async fn entry(&self, event: Event, before: &[Event]) -> Result<Option<Entry>, Error> {
        let now = self.clock().now();
        let latest = now.checked_add(self.tolerance()).unwrap_or(jiff::Timestamp::MAX);
        if event.time() > latest {
            let message = format!("the event {} is of {}, which is in the future", event.id(), event.time());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let tenant = self.payer(event.subject())?;
        let correction = match event.correction().map_err(unusable)? {
            None => None,
            Some(correction) => match self.corrected(&correction, before).await? {
                Some(used) => Some((correction, used)),
                None => return Ok(None),
            },
        };
        assemble::of_event(self.accounts(), event, tenant, correction, now).map(Some)
    }

    /// The use that a correction is of in the end; `None` if it is not there, or was taken back.
    async fn corrected(&self, correction: &Correction, before: &[Event]) -> Result<Option<Event>, Error> {
        let (mut source, mut id) = (correction.source.clone(), correction.id.clone());
        for _ in 0..MAX_AMENDMENTS {
            let in_batch = || before.iter().find(|event| (&event.source, &event.id) == (&source, &id));
            let stored = self.store().event(&source, &id).await?.map(|stored| stored.event);
            let Some(found) = stored.or_else(|| in_batch().cloned()) else { return Ok(None) };
            match found.correction().map_err(unusable)? {
                None => return Ok(Some(found)),
                Some(Correction { data: None, .. }) => return Ok(None),
                // What was amended before has the type and the time of what it amended.
                Some(earlier) => (source, id) = (earlier.source, earlier.id),
            }
        }
        let message =
            format!("the event {id} was amended {MAX_AMENDMENTS} times; void it, and send it under another id");
        Err(Error::new(ErrorKind::Invalid, message))
    }

    pub(crate) fn payer(&self, subject: &str) -> Result<TenantId, Error> {
        self.accounts().payer(subject).ok_or_else(|| {
            let message = format!("nobody is known who pays for \"{subject}\"; add it to a customer as a subject");
            Error::new(ErrorKind::Invalid, message)
        })
    }
}

fn unusable(error: EventError) -> Error {
    Error::because(ErrorKind::Invalid, "the event cannot be used", error)
}

fn receipt(taken: Taken) -> Result<Receipt, Error> {
    Ok(match taken {
        Taken::Spooled => Receipt::Spooled,
        Taken::Stored(Outcome::Counted { overage }) => Receipt::Counted { overage },
        Taken::Stored(Outcome::Duplicate) => Receipt::Duplicate,
        Taken::Stored(Outcome::Conflict) => Receipt::Conflict,
        Taken::Stored(Outcome::Late) => Receipt::Late,
        Taken::Stored(Outcome::NothingToCorrect) => Receipt::NothingToCorrect,
        Taken::Refused => {
            let message = "the store refuses this event for what is in it; the log says why";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    })
}
