//! A backend that lends something new at each read, as slowly and as badly as it is told, and notes what becomes of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_secrets::{Ask, Error, ErrorKind, Lease, Name, Provider, Reading, Stage};
use tokio::time::sleep;

#[derive(Clone)]
pub struct Pawnbroker(Arc<Mutex<State>>);

struct State {
    ttl: Duration,
    lends: bool,
    lends_one: bool,
    lent: u32,
    /// In seconds.
    reading: f64,
    renewing: f64,
    revoking: f64,
    fails_to_revoke: Option<ErrorKind>,
    panics_at: Option<&'static str>,
    at_once: usize,
    most_at_once: usize,
    told: Vec<String>,
    revoked: Vec<String>,
}

impl Pawnbroker {
    /// Lends for `ttl` seconds.
    pub fn new(ttl: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            ttl: Duration::from_secs(ttl),
            lends: true,
            lends_one: false,
            lent: 0,
            reading: 0.0,
            renewing: 0.0,
            revoking: 0.0,
            fails_to_revoke: None,
            panics_at: None,
            at_once: 0,
            most_at_once: 0,
            told: Vec::new(),
            revoked: Vec::new(),
        })))
    }

    pub fn lends_nothing(self) -> Self {
        self.state().lends = false;
        self
    }

    /// The same to all who ask.
    pub fn lends_one(self) -> Self {
        self.state().lends_one = true;
        self
    }

    pub fn slow_to_revoke(self, seconds: f64) -> Self {
        self.state().revoking = seconds;
        self
    }

    /// How long the reads take that begin from now on.
    pub fn slow_to_read(&self, seconds: f64) {
        self.state().reading = seconds;
    }

    pub fn slow_to_renew(&self, seconds: f64) {
        self.state().renewing = seconds;
    }

    pub fn fail_to_revoke(&self, kind: impl Into<Option<ErrorKind>>) {
        self.state().fails_to_revoke = kind.into();
    }

    /// Panics when that is given back, before there is a future.
    pub fn panic_at(&self, lease: &'static str) {
        self.state().panics_at = Some(lease);
    }

    /// How many reads are under way, and were at most.
    pub fn at_once(&self) -> usize {
        self.state().at_once
    }

    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// All that it was asked.
    pub fn told(&self) -> Vec<String> {
        self.state().told.clone()
    }

    pub fn asked_to_revoke(&self) -> usize {
        self.state().told.iter().filter(|told| told.starts_with("revoke")).count()
    }

    /// What was given back, in the order of the alphabet.
    pub fn revoked(&self) -> Vec<String> {
        let mut revoked = self.state().revoked.clone();
        revoked.sort();
        revoked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait(seconds: f64) {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => sleep(duration).await,
        Err(_for_ever) => std::future::pending().await,
    }
}

/// A read that is under way, until it is over or dropped.
struct UnderWay(Pawnbroker);

impl UnderWay {
    fn new(backend: &Pawnbroker) -> Self {
        let mut state = backend.state();
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        Self(backend.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().at_once -= 1;
    }
}

impl Provider for Pawnbroker {
    const NAME: &'static str = "pawnbroker";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        if ask.stage() != Stage::Current {
            return Err(Error::new(ErrorKind::NotFound, "there is only one"));
        }
        let _under_way = UnderWay::new(self);
        let (number, reading) = {
            let mut state = self.state();
            state.told.push("read".into());
            state.lent = if state.lends_one { 1 } else { state.lent + 1 };
            (state.lent, state.reading)
        };
        wait(reading).await;
        let mut state = self.state();
        state.told.push(format!("lent lease-{number}"));
        let lease = Lease::new(format!("lease-{number}"), state.ttl).renewable(true);
        Ok(Reading::new(format!("credential-{number}")).lease(lease))
    }

    fn lends(&self, _: &Name) -> bool {
        self.state().lends
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, Error> {
        let (ttl, renewing) = {
            let state = self.state();
            (state.ttl, state.renewing)
        };
        wait(renewing).await;
        Ok(Lease::new(lease.id(), ttl).renewable(true))
    }

    // No `async fn`: it panics before there is a future.
    fn revoke(&self, lease: &Lease) -> impl Future<Output = Result<(), Error>> + Send {
        let (revoking, panics) = {
            let mut state = self.state();
            state.told.push(format!("revoke {}", lease.id()));
            (state.revoking, state.panics_at == Some(lease.id()))
        };
        assert!(!panics, "as it was told");
        async move {
            wait(revoking).await;
            let mut state = self.state();
            match state.fails_to_revoke {
                Some(kind) => Err(Error::new(kind, "as it was told")),
                None => {
                    state.revoked.push(lease.id().to_owned());
                    Ok(())
                }
            }
        }
    }

    async fn close(&self) {
        self.state().told.push("close".into());
    }
}
