use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::running::Aside;
use super::unserved::Unserved;
use super::{Held, Loans, SHORTEST};
use crate::journal::Journal;
use crate::{Ask, Error, ErrorKind, Lease, Reading};

/// How long a fetch may take for giving back what is not served.
const TIDYING: Duration = Duration::from_secs(1);

/// Asks the provider for one secret, and knows what that lends. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Borrower(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loans: Loans,
    journal: Journal,
    /// Those who use the secret.
    holder: Weak<()>,
    /// What was lent for this secret and is not served, or not yet.
    unserved: Unserved,
    aside: Aside,
}

/// Held by those who use a secret. When the last is gone, what was lent for it is given back in the background.
#[derive(Debug)]
pub(crate) struct Holder {
    /// None while it is dropped.
    token: Option<Arc<()>>,
    loans: Loans,
    on: Handle,
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.token.take());
        self.loans.sweep(&self.on);
    }
}

impl Borrower {
    /// For the secret of `journal`. A call that was given up runs on for `patience`.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(crate) fn new(loans: &Loans, journal: Journal, patience: Duration) -> (Self, Holder) {
        let (token, on) = (Arc::new(()), Handle::current());
        let holder = Arc::downgrade(&token);
        let aside = Aside::new(loans.clone(), on.clone(), patience);
        let inner = Inner { loans: loans.clone(), journal, holder, unserved: Unserved::default(), aside };
        (Self(Arc::new(inner)), Holder { token: Some(token), loans: loans.clone(), on })
    }

    /// Asks the backend once. What it lends is given back unless it is served, also if the answer comes too late.
    pub(crate) async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let reading = if self.0.loans.provider().lends(ask.name()) {
            let (borrower, name, known, stage) = (self.clone(), ask.name().clone(), ask.known().cloned(), ask.stage());
            let call = async move |asker: Weak<()>| {
                let ask = Ask::current(&name).knowing(known.as_ref()).stage_of(stage);
                borrower.ask(ask, || asker.strong_count() == 0).await
            };
            self.0.aside.run(call).await?
        } else {
            self.ask(ask, || false).await?
        };
        match reading.lent().map(Lease::ttl).filter(|ttl| *ttl < SHORTEST) {
            Some(ttl) => {
                let why = format!("it was lent for too short to be used, {ttl:?}");
                Err(Error::new(ErrorKind::Unavailable, why))
            }
            None => Ok(reading),
        }
    }

    async fn ask(&self, ask: Ask<'_>, is_late: impl Fn() -> bool) -> Result<Reading, Error> {
        let Inner { loans, unserved, holder, .. } = &*self.0;
        let asked = Instant::now();
        let reading = loans.provider().read(ask).await?;
        if let Some(lease) = &reading.lease {
            let held = Held::new(lease.clone(), asked);
            if is_late() {
                self.enter(&held, &Weak::new());
            } else {
                unserved.enter(lease);
                self.enter(&held, holder);
            }
        }
        Ok(reading)
    }

    /// Renews a lease once. The new end is known also if the answer comes too late.
    pub(crate) async fn renew(&self, held: &Held) -> Result<Held, Error> {
        let (borrower, held, asked) = (self.clone(), held.clone(), Instant::now());
        let renewal = async move |_: Weak<()>| {
            let lease = borrower.0.loans.provider().renew(&held.lease).await?;
            let held = held.renewed(lease, asked);
            borrower.enter(&held, &borrower.0.holder);
            Ok(held)
        };
        self.0.aside.run(renewal).await
    }

    /// Resolves when the backend may have something new.
    pub(crate) async fn changed(&self) {
        self.0.loans.provider().changed().await;
    }

    /// `lease` is served from now on.
    pub(crate) fn serve(&self, lease: &Lease) {
        self.0.unserved.strike(lease);
    }

    /// Gives back what is not served and not `needed`, as far as that is done soon. What is left is given back at the end.
    pub(crate) async fn give_back_unserved(&self, needed: &[&Lease]) {
        let Inner { loans, journal, unserved, holder, .. } = &*self.0;
        let until = Instant::now() + TIDYING;
        for lease in unserved.take_unless(|lease| needed.iter().any(|needed| needed.id() == lease.id())) {
            // A backend that lends the same to two is wrong, but whoever uses it does.
            if loans.ledger().is_held_beside(&lease, holder) {
                continue;
            }
            if let Err(error) = loans.give_back(journal, &lease, until).await {
                journal.failed(0, &error);
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// What nobody holds is given back at once.
    fn enter(&self, held: &Held, holder: &Weak<()>) {
        let Inner { loans, journal, aside, .. } = &*self.0;
        loans.ledger().enter(journal.name(), &held.lease, held.lasts_until(), holder);
        // After it was entered: who drops the last one meanwhile finds it, or is seen here.
        if holder.strong_count() == 0 {
            loans.sweep(aside.on());
        }
    }
}
