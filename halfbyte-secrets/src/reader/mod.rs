//! Reads one secret of one type for its live handle: which stage, which lease, and whether it is news.

mod recall;
mod stages;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::BoxError;
use halfbyte_core::live::{Fetched, Source};
use secrecy::zeroize::Zeroizing;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::boot::{self, Boot};
use crate::guarded::Guarded;
use crate::journal::{Journal, Outcome};
use crate::lease::{Borrower, Due, Held, SHORTEST};
use crate::rotation::Rotation;
use crate::{Ask, Error, ErrorKind, FromSecret, Lease, Name, Policy, Reading, Stage, Version};

pub(crate) struct Reader<T: FromSecret> {
    name: Name,
    policy: Policy,
    rotation: Arc<Rotation<T>>,
    borrower: Borrower,
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
    value: Arc<Guarded<T>>,
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
        name: Name,
        policy: Policy,
        rotation: Arc<Rotation<T>>,
        borrower: Borrower,
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
        Self { name, policy, rotation, borrower, boot, journal, hasher, state }
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
        // Who holds a lease asks for another credential.
        let may_stay = rejected.is_empty() && !is_due && state.lease.is_none();
        let known = state.version.clone().filter(|_| may_stay);
        let asked = Instant::now();
        let (answer, left_behind) = self.ask(state, Ask::current(name).knowing(known.as_ref())).await;
        let reading = match answer {
            Ok(reading) => reading,
            Err(error) if error.is_not_found() => return self.absent(state).ok_or(error),
            Err(error) if error.is_temporary() => return self.stand_in(left_behind, &error).ok_or(error),
            Err(error) => return Err(error),
        };
        let Reading { value: Some(bytes), version, lease } = reading else {
            if known.is_none() || reading.lease.is_some() {
                return Err(of_no_use());
            }
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

    /// Renews the lease if that is what is due; `None` if another credential is to be read.
    async fn keep_lease(&self, state: &mut State<T>) -> Result<Option<Fetched<Arc<Guarded<T>>>>, Error> {
        let Some(held) = &state.lease else { return Ok(None) };
        match held.due(Instant::now()) {
            Due::Keep => Ok(Some(within(held, Fetched::unchanged()))),
            Due::Replace => Ok(None),
            Due::Renew => match self.borrower.renew(held).await {
                // Its last moments are of no use to anybody.
                Ok(held) if held.lease.ttl() < SHORTEST => Ok(None),
                Ok(held) => {
                    self.rotation.lend(state.generation, held.ends());
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

    /// With `instead_of`, the digest of a current value that was rejected, and that this stands in for.
    fn publish(&self, state: &mut State<T>, news: News, instead_of: Option<u64>) -> Result<Next<T>, Error> {
        let News { bytes, digest, stage, version, lease } = news;
        let value = self.parse(&bytes)?;
        match lease {
            _ if stage != Stage::Current => {}
            None => self.boot.keep(&mut state.boot, &self.name, &bytes),
            Some(_) => self.boot.forget(&mut state.boot, &self.name),
        }
        Ok(Next::Serve(Serve { value, digest, origin: Origin::Backend(stage), version, lease, instead_of }))
    }

    /// The state follows what is served from now on. The last thing that a fetch does: what the state has, the handle has too.
    fn serve(&self, state: &mut State<T>, serve: Serve<T>) -> Fetched<Arc<Guarded<T>>> {
        let Serve { value, digest, origin, version, lease, instead_of } = serve;
        let generation = state.generation + 1;
        let mut fetched = Fetched::new(value.clone());
        if let Some(held) = &lease {
            self.rotation.lend(generation, held.ends());
            self.borrower.serve(&held.lease);
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

    fn parse(&self, bytes: &[u8]) -> Result<Arc<Guarded<T>>, Error> {
        T::from_secret(bytes).map(|value| Guarded::new(value, bytes)).map_err(|error| {
            let name = self.journal.name();
            Error::new(ErrorKind::Malformed, format!("the value of {name} cannot be used")).with_source(error)
        })
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

/// "Unchanged" says nothing to one who named no version, and what is lent is never the value of another time.
fn of_no_use() -> Error {
    let what = "the backend answered \"unchanged\" where a value was asked for; is that a fault of the provider?";
    Error::new(ErrorKind::Malformed, what)
}

impl<T: FromSecret> Source<Arc<Guarded<T>>> for Reader<T> {
    async fn fetch(&self) -> Result<Fetched<Arc<Guarded<T>>>, BoxError> {
        let mut state = self.state.lock().await;
        self.rotation.end_window();
        let next = self.next(&mut state).await;
        if let Err(error) = &next {
            self.journal.failed(state.generation, error);
        }
        let next_lease = match &next {
            Ok(Next::Serve(serve)) => serve.lease.as_ref(),
            _ => None,
        };
        let needed: Vec<&Lease> =
            [state.lease.as_ref(), next_lease].into_iter().flatten().map(|held| &held.lease).collect();
        self.borrower.give_back_unserved(&needed).await;
        Ok(match next? {
            Next::Kept(kept) => kept,
            Next::Serve(serve) => self.serve(&mut state, serve),
        })
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.borrower.changed() => {}
            () = self.rotation.hurry() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParseError;

    /// Has its bytes within itself.
    struct Key<const BYTES: usize>([u8; BYTES]);

    impl<const BYTES: usize> secrecy::zeroize::Zeroize for Key<BYTES> {
        fn zeroize(&mut self) {
            self.0.zeroize();
        }
    }

    impl<const BYTES: usize> FromSecret for Key<BYTES> {
        fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
            bytes.try_into().map(Self).map_err(|_| ParseError::new("it is of another length"))
        }
    }

    fn size_of_fetch<T: FromSecret>() -> usize {
        fn size<'a, T: FromSecret, F: Future + 'a>(_: impl FnOnce(&'a Reader<T>) -> F) -> usize {
            size_of::<F>()
        }
        size(|reader: &Reader<T>| reader.fetch())
    }

    #[test]
    fn a_fetch_has_no_room_for_a_value_that_it_would_leave_there_unwiped() {
        assert_eq!(size_of_fetch::<Key<4096>>(), size_of_fetch::<Key<1>>());
    }
}
