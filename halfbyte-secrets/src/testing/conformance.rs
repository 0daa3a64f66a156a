//! The suite that every [`Provider`] passes: ours do, and yours can be run against it.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use halfbyte_secrets::testing::conformance::{self, Backend, Outcome};
//! use halfbyte_secrets::{Ask, Error, ErrorKind, Name, Provider, Reading, Stage};
//!
//! /// A provider over a map, which is its backend too.
//! #[derive(Clone, Default)]
//! struct Map(Arc<Mutex<HashMap<Name, Vec<u8>>>>);
//!
//! impl Provider for Map {
//!     const NAME: &'static str = "map";
//!
//!     async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
//!         let missing = || Error::new(ErrorKind::NotFound, "the map does not hold it");
//!         match ask.stage() {
//!             Stage::Current => self.0.lock().unwrap().get(ask.name()).map(|value| Reading::new(value.as_slice())).ok_or_else(missing),
//!             _ => Err(missing()),
//!         }
//!     }
//! }
//!
//! impl Backend for Map {
//!     type Provider = Map;
//!
//!     fn provider(&self) -> Map {
//!         self.clone()
//!     }
//!
//!     async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
//!         self.0.lock().unwrap().insert(name.clone(), value.to_vec());
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main] async fn main() {
//! let report = conformance::run(Map::default()).await;
//! report.assert();
//! println!("{report}"); // a table; what a map cannot be made to do is in it as "not run"
//! assert!(report.not_run().contains(&"outage"));
//! # }
//! ```

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;

use halfbyte_core::BoxError;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;

pub use super::report::{Check, Report, Verdict};
use super::trial::{LIMIT, Stop, Trial};
use super::{checks, lending};
use crate::{Lease, Name, Provider};

/// A backend that the suite can put secrets into, and make misbehave.
///
/// [`provider`](Self::provider) and [`put`](Self::put) must be there. What else the backend can be made to do is tested; what it
/// cannot, because it answers [`Hindrance::Cannot`], is reported as [not run](Report::not_run).
///
/// Names are made for one run, so that runs may share a backend; nothing is cleaned up.
pub trait Backend: Send + Sync + 'static {
    /// What is tested.
    type Provider: Provider;

    /// A provider of this backend, as a product makes one. Each check makes its own, once what it is about to read was put.
    fn provider(&self) -> Self::Provider;

    /// Makes `value` the current one of `name`. When this is through, who reads sees it.
    fn put(&self, name: &Name, value: &[u8]) -> impl Future<Output = Outcome> + Send;

    /// The same while a provider is in use; for a backend where that is another thing, or cannot be.
    fn rotate(&self, name: &Name, value: &[u8]) -> impl Future<Output = Outcome> + Send {
        self.put(name, value)
    }

    /// Makes `value` the [pending](crate::Stage::Pending) one of `name`.
    fn pend(&self, name: &Name, value: &[u8]) -> impl Future<Output = Outcome> + Send {
        let _ = (name, value);
        async { Err(Hindrance::Cannot("it has no pending values")) }
    }

    /// Makes the pending value of `name` the current one, and the current one the [previous](crate::Stage::Previous).
    fn promote(&self, name: &Name) -> impl Future<Output = Outcome> + Send {
        let _ = name;
        async { Err(Hindrance::Cannot("it has no pending values")) }
    }

    /// Whether [`rotate`](Self::rotate) makes what was current the [previous](crate::Stage::Previous) value, which can be read
    /// then.
    fn keeps_previous(&self) -> bool {
        false
    }

    /// Refuses to give `name` until [`restore`](Self::restore).
    fn deny(&self, name: &Name) -> impl Future<Output = Outcome> + Send {
        let _ = name;
        async { Err(Hindrance::Cannot("it denies nothing")) }
    }

    /// Is away until [`restore`](Self::restore).
    fn outage(&self) -> impl Future<Output = Outcome> + Send {
        async { Err(Hindrance::Cannot("it cannot be away")) }
    }

    /// Answers no read until [`restore`](Self::restore), and hangs up on nobody.
    fn slow(&self) -> impl Future<Output = Outcome> + Send {
        async { Err(Hindrance::Cannot("it cannot be slow")) }
    }

    /// Answers `name` with something that it is not, and better with the value in it, until [`restore`](Self::restore).
    fn malform(&self, name: &Name) -> impl Future<Output = Outcome> + Send {
        let _ = name;
        async { Err(Hindrance::Cannot("it cannot be malformed")) }
    }

    /// Ends all faults that it was told to have.
    fn restore(&self) -> impl Future<Output = Outcome> + Send {
        async { Ok(()) }
    }

    /// Sees to it that there is a secret that is lent, and answers its name.
    fn lend(&self) -> impl Future<Output = Outcome<Name>> + Send {
        async { Err(Hindrance::Cannot("it lends nothing")) }
    }

    /// Ends `lease`, or waits until it has ended.
    fn expire(&self, lease: &Lease) -> impl Future<Output = Outcome> + Send {
        let _ = lease;
        async { Err(Hindrance::Cannot("it lends nothing")) }
    }
}

/// What came of telling a [`Backend`] to do something. `?` on an error of anything that it uses is [`Hindrance::Failed`].
pub type Outcome<T = ()> = Result<T, Hindrance>;

/// Why a [`Backend`] did not do what it was told.
#[derive(Debug)]
pub enum Hindrance {
    /// It never can, and this is why. The check that needs it is not run.
    Cannot(&'static str),
    /// It went wrong. The check has failed.
    Failed(BoxError),
}

impl<E: StdError + Send + Sync + 'static> From<E> for Hindrance {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs all checks, one after the other. Needs a Tokio runtime, whose clock may be paused only for a backend in
/// memory, and takes some seconds.
///
/// What the provider logs meanwhile, at any level, is looked at for values, and is shown nowhere else; not so what it logs on
/// tasks and threads that it starts by itself, or by the `log` crate.
///
/// A backend must be linearizable for this: what was put is what is read from then on. Failures are in the report; so is a
/// panic, or a check that does not end.
pub async fn run<B: Backend>(backend: B) -> Report {
    let trial = Arc::new(Trial::new(backend));
    let mut report = Report::new(B::Provider::NAME);
    let t = || trial.clone();
    report.add("missing name", guarded(t(), checks::missing(t())).await);
    report.add("value as it was put", guarded(t(), checks::verbatim(t())).await);
    report.add("value that is not text", guarded(t(), checks::not_text(t())).await);
    report.add("sizes to 64 KiB", guarded(t(), checks::sizes(t())).await);
    report.add("names", guarded(t(), checks::names(t())).await);
    report.add("never unchanged at first", guarded(t(), checks::first_answer(t())).await);
    report.add("unchanged", guarded(t(), checks::unchanged(t())).await);
    report.add("rotation", guarded(t(), checks::rotation(t())).await);
    report.add("rotation under readers", guarded(t(), checks::rotation_under_readers(t())).await);
    report.add("many readers", guarded(t(), checks::many_readers(t())).await);
    report.add("no other stages", guarded(t(), checks::no_other_stages(t())).await);
    report.add("previous", guarded(t(), checks::previous(t())).await);
    report.add("pending", guarded(t(), checks::pending(t())).await);
    report.add("dropped reads", guarded(t(), checks::dropped_reads(t())).await);
    report.add("denied", guarded(t(), checks::denied(t())).await);
    report.add("outage", guarded(t(), checks::outage(t())).await);
    report.add("slow", guarded(t(), checks::slow(t())).await);
    report.add("malformed", guarded(t(), checks::malformed(t())).await);
    report.add("lease", guarded(t(), lending::lease(t())).await);
    report.add("lease expiry", guarded(t(), lending::expiry(t())).await);
    report.add("lease given back", guarded(t(), lending::given_back(t())).await);
    // The last, since it is about what all others were answered.
    report.add("no value where it can be seen", trial.unseen().into());
    report
}

/// Runs one check to its end, whatever that is, and the backend is well again after it.
async fn guarded<B: Backend>(
    trial: Arc<Trial<B>>,
    check: impl Future<Output = Result<(), Stop>> + Send + 'static,
) -> Verdict {
    let mut task = JoinSet::new();
    task.spawn(check.with_subscriber(trial.log.clone()));
    let verdict = match timeout(LIMIT, task.join_next()).await {
        Ok(Some(Ok(outcome))) => outcome.into(),
        Ok(Some(Err(_panic))) => Verdict::Failed("it panicked".to_owned()),
        Ok(None) | Err(_) => Verdict::Failed(format!("it did not end within {LIMIT:?}")),
    };
    match trial.backend.restore().await {
        Err(Hindrance::Failed(error)) => Verdict::Failed(format!("the backend could not be restored: {error}")),
        _ => verdict,
    }
}
