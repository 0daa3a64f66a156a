//! Reads one secret of one type for its live handle: which stage, which lease, and whether it is news.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
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
use crate::lease::{Due, Held, Ledger, SHORTEST, Unserved};
use crate::provider::Erased;
use crate::rotation::Rotation;
use crate::{Ask, Error, ErrorKind, FromSecret, Lease, Name, Policy, Reading, Stage, Version};

/// How long a fetch may take for giving back what it does not serve.
const GIVING_BACK: Duration = Duration::from_secs(1);

pub(crate) struct Reader<T: FromSecret> {
    provider: Arc<dyn Erased>,
    name: Name,
    policy: Policy,
    rotation: Arc<Rotation<T>>,
    ledger: Ledger,
    /// What was lent for this secret and is not served, or not yet.
    unserved: Unserved,
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

/// What is to be served from now on, once it is parsed.
struct News {
    bytes: Zeroizing<Vec<u8>>,
    digest: u64,
    stage: Stage,
    version: Option<Version>,
    lease: Option<Held>,
}

/// What comes of a fetch. Nothing has been changed for a value that is still to be served.
enum Next<T: FromSecret> {
    Kept(Fetched<Arc<Guarded<T>>>),
    Serve(Serve<T>),
}

struct Serve<T: FromSecret> {
    value: Guarded<T>,
    digest: u64,
    origin: Origin,
    version: Option<Version>,
    lease: Option<Held>,
    /// Of the rejected current value that it stands in for.
    instead_of: Option<u64>,
}

enum Origin {
    Backend(Stage),
    /// An earlier process, and how long it may still be used.
    Restored(Duration),
    /// The backend has none.
    Absent,
}

impl<T: FromSecret> Reader<T> {
    pub(crate) fn new(
        provider: Arc<dyn Erased>,
        name: Name,
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
        let unserved = Unserved::default();
        Self { provider, name, policy, rotation, ledger, unserved, boot, journal, hasher, state }
    }

    async fn next(&self, state: &mut State<T>) -> Result<Next<T>, Error> {
        let name = &self.name;
        let rejected = self.rotation.rejected();
        let served = state.served.as_ref().map(|served| served.digest);
        if served.is_some_and(|served| !rejected.contains(&served))
            && let Some(kept) = self.keep_lease(state).await?
        {
            return Ok(Next::Kept(kept));
        }
        let is_due = self.boot.is_due(&state.boot);
        let known = state.version.clone().filter(|_| rejected.is_empty() && !is_due);
        let asked = Instant::now();
        let (answer, left_behind) = self.ask(state, Ask::current(name).knowing(known.as_ref())).await;
        let reading = match answer {
            Ok(reading) => reading,
            Err(error) if error.is_not_found() => return self.absent(state).ok_or(error),
            Err(error) if error.is_temporary() => return self.stand_in(left_behind, &error).ok_or(error),
            Err(error) => return Err(error),
        };
        let Reading { value: Some(bytes), version, lease } = reading else {
            self.journal.tell(state.generation, Outcome::Unchanged);
            return Ok(Next::Kept(Fetched::unchanged()));
        };
        if self.policy.previous_at_start && !std::mem::replace(&mut state.has_looked_back, true) {
            self.look_back().await;
        }
        let digest = self.digest(Some(&bytes));
        if rejected.contains(&digest) {
            if served.is_some_and(|served| served != digest && !rejected.contains(&served)) {
                // What is served in its place does, until it is tried again.
                return Ok(Next::Kept(Fetched::unchanged().fresh_for(self.until_tried_again(digest))));
            }
            if self.rotation.may_stand_in(digest)
                && let Some(news) = self.another_stage(name, &rejected).await
            {
                return self.publish(state, news, Some(digest));
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
            return Ok(Next::Kept(Fetched::unchanged()));
        }
        let lease = lease.map(|lease| Held::new(lease, asked));
        self.publish(state, News { bytes, digest, stage: Stage::Current, version, lease }, None)
    }

    /// Asks the backend, and where it has not answered yet also what an earlier process left behind. Only if that can stand in
    /// is a backend that does not answer in half of the time taken to be down: nothing in there was ever lent, so it is no
    /// credential that the backend may have made meanwhile.
    async fn ask(
        &self,
        state: &mut State<T>,
        ask: Ask<'_>,
    ) -> (Result<Reading, Error>, Option<Result<Serve<T>, Error>>) {
        let (asked, patience) = (Instant::now(), self.policy.live.fetch_timeout / 2);
        let mut answer = pin!(self.read(ask));
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

    /// Asks the backend once. What it lends is given back unless it is served.
    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let asked = Instant::now();
        let reading = self.provider.read(ask).await?;
        if let Some(lease) = &reading.lease {
            self.ledger.enter(self.journal.name(), lease, Held::new(lease.clone(), asked).ends());
            self.unserved.enter(lease);
            if lease.ttl() < SHORTEST {
                let why = format!("it was lent for too short to be used, {:?}", lease.ttl());
                return Err(Error::new(ErrorKind::Unavailable, why));
            }
        }
        Ok(reading)
    }

    /// What an earlier process left behind.
    async fn recall(&self, name: &Name) -> Option<Result<Serve<T>, Error>> {
        let Recalled { value: bytes, left } = self.boot.recall(name).await?;
        Some(self.parse(&bytes).map(|value| {
            let (value, digest) = (Guarded::new(value, &bytes), self.digest(Some(&bytes)));
            Serve { value, digest, origin: Origin::Restored(left), version: None, lease: None, instead_of: None }
        }))
    }

    /// What an earlier process left behind stands in for the backend, which could not be asked because of `error`.
    fn stand_in(&self, left_behind: Option<Result<Serve<T>, Error>>, error: &Error) -> Option<Next<T>> {
        let serve = left_behind?.inspect_err(|error| self.journal.failed(0, error)).ok()?;
        self.journal.failed(0, error);
        Some(Next::Serve(serve))
    }

    /// Renews the lease if that is what is due; `None` if another credential is to be read.
    async fn keep_lease(&self, state: &mut State<T>) -> Result<Option<Fetched<Arc<Guarded<T>>>>, Error> {
        let Some(held) = &state.lease else { return Ok(None) };
        let asked = Instant::now();
        match held.due(asked) {
            Due::Keep => Ok(Some(within(held, Fetched::unchanged()))),
            Due::Replace => Ok(None),
            Due::Renew => match self.provider.renew(&held.lease).await {
                // Its last moments are of no use to anybody.
                Ok(lease) if lease.ttl() < SHORTEST => Ok(None),
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
            let asked = Instant::now();
            let reading = self.read(Ask::current(name).stage_of(stage)).await;
            let Ok(Reading { value: Some(bytes), lease, .. }) = reading else { continue };
            let digest = self.digest(Some(&bytes));
            let may_be = !is_previous || any || before == Some(digest);
            if may_be && !rejected.contains(&digest) && self.can_be_used(&bytes) {
                let lease = lease.map(|lease| Held::new(lease, asked));
                return Some(News { bytes, digest, stage, version: None, lease });
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

    /// With `instead_of`, the digest of a current value that was rejected, and that this stands in for.
    fn publish(&self, state: &mut State<T>, news: News, instead_of: Option<u64>) -> Result<Next<T>, Error> {
        let News { bytes, digest, stage, version, lease } = news;
        let value = self.parse(&bytes)?;
        match lease {
            _ if stage != Stage::Current => {}
            None => self.boot.keep(&mut state.boot, &self.name, &bytes),
            Some(_) => self.boot.forget(&mut state.boot, &self.name),
        }
        let value = Guarded::new(value, &bytes);
        Ok(Next::Serve(Serve { value, digest, origin: Origin::Backend(stage), version, lease, instead_of }))
    }

    /// The state follows what is served from now on. The last thing that a fetch does: what the state has, the handle has too.
    fn serve(&self, state: &mut State<T>, serve: Serve<T>) -> Fetched<Arc<Guarded<T>>> {
        let Serve { value, digest, origin, version, lease, instead_of } = serve;
        let (value, generation) = (Arc::new(value), state.generation + 1);
        let mut fetched = Fetched::new(value.clone());
        if let Some(held) = &lease {
            self.enter(generation, held);
            fetched = within(held, fetched);
        }
        match origin {
            Origin::Backend(stage) => self.journal.read(generation, stage),
            Origin::Restored(left) => {
                self.journal.tell(generation, Outcome::Restored);
                fetched = fetched.fresh_for(boot::FRESH_FOR.min(left)).usable_for(left);
            }
            Origin::Absent => {}
        }
        let window = match (&origin, &state.lease) {
            (Origin::Absent, _) => Duration::ZERO,
            (_, Some(held)) => self.policy.rotation_window.min(held.left(Instant::now())),
            (_, None) => self.policy.rotation_window,
        };
        let before = state.served.replace(Served { digest, value });
        (state.generation, state.version, state.lease) = (generation, version, lease);
        self.unserved.clear();
        self.rotation.serve(generation, digest);
        if let Some(Served { value, .. }) = before {
            self.rotation.keep_previous(value, generation - 1, window);
        }
        if let Some(of) = instead_of {
            self.rotation.stand_in(of);
            fetched = fetched.fresh_for(self.until_tried_again(of));
        }
        fetched
    }

    /// The backend does not have it, which is all right for an `Option`. Nothing is verified with what is gone.
    fn absent(&self, state: &mut State<T>) -> Option<Next<T>> {
        self.rotation.forget_previous();
        let (value, digest) = (T::absent()?, self.digest(None));
        if state.served.as_ref().is_some_and(|served| served.digest == digest) {
            return Some(Next::Kept(Fetched::unchanged()));
        }
        let value = Guarded::new(value, b"");
        Some(Next::Serve(Serve { value, digest, origin: Origin::Absent, version: None, lease: None, instead_of: None }))
    }

    /// Gives back what was lent and is not going to be served, as far as that is done soon. What is left ends by itself, or is
    /// given back at shutdown.
    async fn give_back_unserved(&self, state: &State<T>, next: Option<&Serve<T>>) {
        let is_needed = |lease: &Lease| {
            let needed = [state.lease.as_ref(), next.and_then(|next| next.lease.as_ref())];
            needed.into_iter().flatten().any(|held| held.lease.id() == lease.id())
        };
        let unserved = self.unserved.take_unless(is_needed);
        let giving_back = async {
            for lease in unserved {
                match self.provider.revoke(&lease).await {
                    Ok(()) => {
                        self.ledger.strike(&lease);
                        self.journal.tell(0, Outcome::Revoked);
                    }
                    Err(error) => self.journal.failed(0, &error),
                }
            }
        };
        let _ends_by_itself = tokio::time::timeout(GIVING_BACK, giving_back).await;
    }

    /// What was current before this process started. Verifying with it is an extra: without it, no error.
    async fn look_back(&self) {
        let reading = self.read(Ask::current(&self.name).stage_of(Stage::Previous)).await;
        if let Ok(Reading { value: Some(bytes), lease: None, .. }) = reading
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
        let serve = match &next {
            Ok(Next::Serve(serve)) => Some(serve),
            _ => None,
        };
        self.give_back_unserved(&state, serve).await;
        Ok(match next? {
            Next::Kept(kept) => kept,
            Next::Serve(serve) => self.serve(&mut state, serve),
        })
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
