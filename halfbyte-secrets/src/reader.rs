//! Reads one secret of one type for its live handle: which stage, which lease, and whether it is news.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use halfbyte_core::BoxError;
use halfbyte_core::live::{Fetched, Source};
use secrecy::zeroize::Zeroizing;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::boot::{self, Boot, Recalled};
use crate::guarded::Guarded;
use crate::journal::{Audience, Journal, Outcome};
use crate::lease::{Due, Held, Ledger};
use crate::provider::Erased;
use crate::rotation::Rotation;
use crate::{Ask, Error, ErrorKind, FromSecret, Name, Policy, Reading, Stage, Version};

pub(crate) struct Reader<T: FromSecret> {
    provider: Arc<dyn Erased>,
    name: Result<Name, Error>,
    policy: Policy,
    rotation: Arc<Rotation<T>>,
    ledger: Ledger,
    boot: Boot,
    journal: Journal,
    /// Of digests, so that nobody learns a value by one.
    hasher: RandomState,
    /// One fetch at a time holds it.
    state: Mutex<State<T>>,
}

struct State<T: FromSecret> {
    /// As the live value counts.
    generation: u64,
    served: Option<Served<T>>,
    lease: Option<Held>,
    /// Of what the backend said last to be current; `None` if that has to be read anew.
    version: Option<Version>,
    boot: boot::State,
    /// The value before the current one was asked for, as far as the policy says so.
    has_looked_back: bool,
}

struct Served<T: FromSecret> {
    digest: u64,
    value: Arc<Guarded<T>>,
}

/// What is to be served from now on.
struct News {
    bytes: Zeroizing<Vec<u8>>,
    digest: u64,
    stage: Stage,
    version: Option<Version>,
    lease: Option<Held>,
}

impl<T: FromSecret> Reader<T> {
    pub(crate) fn new(
        provider: Arc<dyn Erased>,
        name: Result<Name, Error>,
        policy: Policy,
        rotation: Arc<Rotation<T>>,
        ledger: Ledger,
        boot: Boot,
        journal: Journal,
    ) -> Self {
        let state = State {
            generation: 0,
            served: None,
            lease: None,
            version: None,
            boot: boot::State::default(),
            has_looked_back: false,
        };
        let (hasher, state) = (RandomState::new(), Mutex::new(state));
        Self { provider, name, policy, rotation, ledger, boot, journal, hasher, state }
    }

    async fn next(&self, state: &mut State<T>) -> Result<Fetched<Arc<Guarded<T>>>, Error> {
        let name = self.name.as_ref().map_err(Clone::clone)?;
        let rejected = self.rotation.rejected();
        let served = state.served.as_ref().map(|served| served.digest);
        if served.is_some_and(|served| !rejected.contains(&served))
            && let Some(kept) = self.keep_lease(state).await?
        {
            return Ok(kept);
        }
        let is_due = self.boot.is_due(&state.boot);
        let known = state.version.clone().filter(|_| rejected.is_empty() && !is_due);
        let asked = Instant::now();
        let reading = match self.ask(state, Ask::current(name).knowing(known.as_ref())).await {
            Ok(reading) => reading,
            Err(error) if error.is_not_found() => return self.absent(state).ok_or(error),
            Err(error) if error.is_temporary() => return self.recall(state, name, &error).await.ok_or(error),
            Err(error) => return Err(error),
        };
        let Reading { value: Some(bytes), version, lease } = reading else {
            self.journal.tell(state.generation, Outcome::Unchanged);
            return Ok(Fetched::unchanged());
        };
        if self.policy.previous_at_start && !std::mem::replace(&mut state.has_looked_back, true) {
            self.look_back().await;
        }
        let digest = self.digest(Some(&bytes));
        if rejected.contains(&digest) {
            if served.is_some_and(|served| served != digest && !rejected.contains(&served)) {
                // What is served in its place does, until it is tried again.
                return Ok(Fetched::unchanged().fresh_for(self.until_tried_again(digest)));
            }
            if self.rotation.may_stand_in(digest)
                && let Some(news) = self.another_stage(name, &rejected).await
            {
                let fetched = self.publish(state, news).await?;
                self.rotation.stand_in(digest);
                return Ok(fetched.fresh_for(self.until_tried_again(digest)));
            }
            // Everything that there is was rejected: the backend's word counts again.
            self.rotation.forgive();
        }
        if served == Some(digest) && lease.is_none() {
            state.version = version;
            if is_due {
                self.boot.keep(&mut state.boot, name, &bytes);
            }
            self.journal.tell(state.generation, Outcome::Unchanged);
            return Ok(Fetched::unchanged());
        }
        let lease = lease.map(|lease| Held::new(lease, asked));
        self.publish(state, News { bytes, digest, stage: Stage::Current, version, lease }).await
    }

    /// Reads from the backend. Where an earlier process has left a value, a backend that does not answer in half of the time is
    /// taken to be down, so that there is time to look for that.
    async fn ask(&self, state: &mut State<T>, ask: Ask<'_>) -> Result<Reading, Error> {
        let reading = self.provider.read(ask);
        let outcome = if self.boot.may_recall(&state.boot) {
            let patience = self.policy.live.fetch_timeout / 2;
            tokio::time::timeout(patience, reading).await.unwrap_or_else(|_elapsed| {
                Err(Error::new(ErrorKind::Unavailable, format!("no answer within {patience:?}")))
            })
        } else {
            reading.await
        };
        match &outcome {
            // What is to be done about it shows when it was parsed.
            Ok(_) => self.boot.answered(&mut state.boot),
            Err(error) if error.is_not_found() || error.is_denied() => self.boot.forget(&mut state.boot, ask.name()),
            Err(error) if error.is_temporary() => {}
            Err(_) => self.boot.answered(&mut state.boot),
        }
        outcome
    }

    /// What an earlier process knew, if the backend has not said anything to this one.
    async fn recall(&self, state: &mut State<T>, name: &Name, error: &Error) -> Option<Fetched<Arc<Guarded<T>>>> {
        if state.generation > 0 || !self.boot.may_recall(&state.boot) {
            return None;
        }
        let Recalled { value: bytes, left } = self.boot.recall(name).await?;
        let value = self.parse(&bytes).inspect_err(|error| self.journal.failed(0, error)).ok()?;
        self.journal.failed(0, error);
        let fetched = self.serve(state, Guarded::new(value, &bytes), self.digest(Some(&bytes)));
        self.journal.tell(state.generation, Outcome::Restored);
        Some(fetched.fresh_for(boot::FRESH_FOR.min(left)).usable_for(left))
    }

    /// Renews the lease if that is what is due; `None` if another credential is to be read.
    async fn keep_lease(&self, state: &mut State<T>) -> Result<Option<Fetched<Arc<Guarded<T>>>>, Error> {
        let Some(held) = &state.lease else { return Ok(None) };
        let asked = Instant::now();
        match held.due(asked) {
            Due::Keep => Ok(Some(within(held, Fetched::unchanged()))),
            Due::Replace => Ok(None),
            Due::Renew => match self.provider.renew(&held.lease).await {
                Ok(lease) => {
                    let held = held.renewed(lease, asked);
                    self.enter(state.generation, &held);
                    self.journal.tell(state.generation, Outcome::Renewed);
                    let kept = within(&held, Fetched::unchanged());
                    state.lease = Some(held);
                    Ok(Some(kept))
                }
                Err(error) if error.is_temporary() => Err(error),
                // It is gone: another one.
                Err(error) => {
                    self.journal.failed(state.generation, &error);
                    Ok(None)
                }
            },
        }
    }

    /// The first value of another stage that can be used and was not rejected. The previous one may have been replaced because
    /// it is known to others, so it must be what this process had until lately, unless the policy says otherwise.
    async fn another_stage(&self, name: &Name, rejected: &[u64]) -> Option<News> {
        let (before, any) = (self.rotation.previous_digest(), self.policy.fall_back_to_previous);
        for stage in [Stage::Pending, Stage::Previous] {
            let is_previous = stage == Stage::Previous;
            if is_previous && !any && before.is_none() {
                continue;
            }
            let reading = self.provider.read(Ask::current(name).stage_of(stage)).await;
            let Ok(Reading { value: Some(bytes), .. }) = reading else { continue };
            let digest = self.digest(Some(&bytes));
            let may_be = !is_previous || any || before == Some(digest);
            if may_be && !rejected.contains(&digest) && self.can_be_used(&bytes) {
                return Some(News { bytes, digest, stage, version: None, lease: None });
            }
        }
        None
    }

    fn can_be_used(&self, bytes: &[u8]) -> bool {
        // Guarded, so that it is wiped.
        self.parse(bytes).map(|value| drop(Guarded::new(value, bytes))).is_ok()
    }

    /// When to ask again while something stands in for the rejected current value `of`: not before that is tried again, whatever
    /// the jitter takes off.
    fn until_tried_again(&self, of: u64) -> Duration {
        let live = &self.policy.live;
        let rest = self.rotation.rejected_for(of);
        rest.div_f64(1.0 - live.jitter.clamp(0.0, 0.5).max(0.0)).min(live.fresh_for)
    }

    async fn publish(&self, state: &mut State<T>, news: News) -> Result<Fetched<Arc<Guarded<T>>>, Error> {
        let News { bytes, digest, stage, version, lease } = news;
        let value = self.parse(&bytes)?;
        if let Ok(name) = &self.name
            && stage == Stage::Current
        {
            match lease {
                None => self.boot.keep(&mut state.boot, name, &bytes),
                Some(_) => self.boot.forget(&mut state.boot, name),
            }
        }
        state.version = version;
        state.lease = lease;
        let mut fetched = self.serve(state, Guarded::new(value, &bytes), digest);
        if let Some(held) = &state.lease {
            self.enter(state.generation, held);
            fetched = within(held, fetched);
        }
        self.journal.read(state.generation, stage);
        Ok(fetched)
    }

    fn serve(&self, state: &mut State<T>, value: Guarded<T>, digest: u64) -> Fetched<Arc<Guarded<T>>> {
        let value = Arc::new(value);
        let before = state.served.replace(Served { digest, value: value.clone() });
        if let Some(Served { value, .. }) = before {
            self.rotation.keep_previous(value, state.generation, self.policy.rotation_window);
        }
        state.generation += 1;
        self.rotation.serve(state.generation, digest);
        Fetched::new(value)
    }

    /// The backend does not have it, which is all right for an `Option`.
    fn absent(&self, state: &mut State<T>) -> Option<Fetched<Arc<Guarded<T>>>> {
        let absent = T::absent()?;
        let digest = self.digest(None);
        (state.version, state.lease) = (None, None);
        if state.served.as_ref().is_some_and(|served| served.digest == digest) {
            return Some(Fetched::unchanged());
        }
        Some(self.serve(state, Guarded::new(absent, b""), digest))
    }

    /// What was current before this process started. Verifying with it is an extra: without it, no error.
    async fn look_back(&self) {
        let Ok(name) = &self.name else { return };
        let reading = self.provider.read(Ask::current(name).stage_of(Stage::Previous)).await;
        if let Ok(Reading { value: Some(bytes), .. }) = reading
            && let Ok(value) = self.parse(&bytes)
        {
            let value = Arc::new(Guarded::new(value, &bytes));
            self.rotation.keep_previous(value, 0, self.policy.rotation_window);
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<T, Error> {
        T::from_secret(bytes).map_err(|error| {
            let name = self.journal.name();
            Error::new(ErrorKind::Malformed, format!("the value of {name} cannot be used")).with_source(error)
        })
    }

    fn enter(&self, generation: u64, held: &Held) {
        self.rotation.lend(generation, held.ends());
        self.ledger.enter(self.journal.name(), &held.lease, held.ends());
    }

    fn digest(&self, value: Option<&[u8]>) -> u64 {
        self.hasher.hash_one(value)
    }
}

/// Served no longer than the lease, and looked after before that.
fn within<V>(held: &Held, fetched: Fetched<V>) -> Fetched<V> {
    let now = Instant::now();
    fetched.fresh_for(held.rest(now)).usable_for(held.left(now))
}

impl<T: FromSecret> Source<Arc<Guarded<T>>> for Reader<T> {
    async fn fetch(&self) -> Result<Fetched<Arc<Guarded<T>>>, BoxError> {
        let mut state = self.state.lock().await;
        self.rotation.end_window();
        let next = self.next(&mut state).await;
        if let Err(error) = &next {
            self.journal.failed(state.generation, error);
        }
        Ok(next?)
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.provider.changed() => {}
            () = self.rotation.hurry() => {}
        }
    }
}

/// What of the time for giving back is kept for saying goodbye, at most.
const CLOSING: Duration = Duration::from_secs(1);

/// Gives back what is lent, all of it at once, and closes the backend, until `until`. What was not given back in time is told of:
/// it ends by itself.
pub(crate) async fn give_back(provider: &dyn Erased, ledger: &Ledger, audience: &Audience, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    let revoked_by = until.checked_sub(CLOSING.min(left / 4)).unwrap_or(until);
    let entries = ledger.take();
    let revocations = entries.iter().map(async |entry| {
        let journal = audience.of(&entry.name);
        let outcome = timeout_at(revoked_by, provider.revoke(&entry.lease)).await;
        let error = match outcome {
            Ok(Ok(())) => return journal.tell(0, Outcome::Revoked),
            Ok(Err(error)) => error,
            Err(_elapsed) => Error::new(ErrorKind::Unavailable, "the backend did not take it in time"),
        };
        let message = "the lease was not given back, and lasts until it ends by itself";
        journal.failed(0, &Error::new(error.kind(), message).with_source(error));
    });
    join_all(revocations).await;
    if timeout_at(until, provider.close()).await.is_err() {
        tracing::debug!(target: "halfbyte::secrets", "the backend was not closed in time");
    }
}
