//! What somebody waits for, and what became of it.

use std::sync::Arc;

use halfbyte_core::error_chain;
use tokio::sync::oneshot;

use super::{Ingested, Taken};
use crate::Error;
use crate::quota::{Cell, Hold};
use crate::store::{LeaseAsk, Leased, Release};

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Events, and who waits for what became of them.
pub(super) type Ingest = (Vec<Ingested>, Answer<Vec<Taken>>);

/// What somebody waits for.
#[derive(Default)]
pub(super) struct Job {
    pub(super) leases: Vec<(Arc<Cell>, u64, Answer<Option<Hold>>)>,
    pub(super) ingests: Vec<Ingest>,
    pub(super) reserves: Vec<(LeaseAsk, Answer<Leased>)>,
    pub(super) releases: Vec<(Release, Answer<()>)>,
}

/// What became of a [`Job`]: of each list the first ones, in their order, as far as it has come.
#[derive(Default)]
pub(super) struct Done {
    /// One for each event of the ingests.
    pub(super) taken: Vec<Taken>,
    pub(super) released: Vec<Result<(), Error>>,
    pub(super) leased: Vec<Result<Leased, Error>>,
    pub(super) reserved: Vec<Result<Leased, Error>>,
}

impl Job {
    /// All events, in their order.
    pub(super) fn events(&self) -> impl Iterator<Item = &Ingested> {
        self.ingests.iter().flat_map(|(events, _)| events)
    }

    /// Tells all who wait what was done, and those whose turn did not come why, but for their events: these can wait on the
    /// disk. Answers them, and reservations that nobody waits for any more.
    pub(super) fn answer(self, done: Done, failure: Option<&Error>) -> (Vec<Release>, Vec<Ingest>) {
        let again = || match failure {
            Some(error) => Error::new(error.kind(), error_chain(error)),
            None => super::closed(),
        };
        let (mut abandoned, mut left) = (Vec::new(), Vec::new());
        let mut taken = done.taken.into_iter();
        for (events, answer) in self.ingests {
            let of_these: Vec<_> = taken.by_ref().take(events.len()).collect();
            if of_these.len() == events.len() {
                _ = answer.send(Ok(of_these));
            } else {
                // Those of them that were counted are found to be there when they come again.
                left.push((events, answer));
            }
        }
        let mut leased = done.leased.into_iter();
        for (cell, units, answer) in self.leases {
            let hold = leased.next().unwrap_or_else(|| Err(again())).map(|leased| {
                cell.set_left(leased.left);
                // What it did not get all of helps it no further, but may be enough for others.
                let hold = (leased.units >= units).then(|| Hold::of_lease(cell.clone(), units));
                cell.deposit(if hold.is_some() { leased.units - units } else { leased.units });
                hold
            });
            // A hold that nobody takes puts its units back.
            _ = answer.send(hold);
        }
        let mut reserved = done.reserved.into_iter();
        for (ask, answer) in self.reserves {
            if let Err(Ok(_)) = answer.send(reserved.next().unwrap_or_else(|| Err(again()))) {
                let LeaseAsk { holder, tenant, feature, .. } = ask;
                abandoned.push(Release { holder, tenant, feature, units: None });
            }
        }
        let mut released = done.released.into_iter();
        for (_, answer) in self.releases {
            _ = answer.send(released.next().unwrap_or_else(|| Err(again())));
        }
        (abandoned, left)
    }
}
