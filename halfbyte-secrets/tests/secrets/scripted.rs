//! A backend with stages and leases, all in memory, that does as it is told and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_core::live;
use halfbyte_secrets::{Ask, Error, ErrorKind, Lease, Provider, Reading, Stage, Version};

#[derive(Clone, Default)]
pub struct Scripted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stages: HashMap<Stage, String>,
    /// How long a credential is lent, and for how long in all.
    lends: Option<(Duration, Duration)>,
    renewable: bool,
    lent: u32,
    /// When each lease was granted.
    leases: HashMap<String, tokio::time::Instant>,
    fails: Option<ErrorKind>,
    fails_to_renew: Option<ErrorKind>,
    slow_to_revoke: Duration,
    asked: Vec<String>,
}

impl Scripted {
    pub fn holding(value: &str) -> Self {
        let backend = Self::default();
        backend.set(Stage::Current, value);
        backend
    }

    /// Lends a new credential at each read, for `ttl` at once and `max` in all.
    pub fn lending(ttl: u64, max: u64) -> Self {
        let backend = Self::default();
        backend.state().lends = Some((Duration::from_secs(ttl), Duration::from_secs(max)));
        backend.state().renewable = true;
        backend
    }

    pub fn not_renewable(self) -> Self {
        self.state().renewable = false;
        self
    }

    pub fn slow_to_revoke(self, seconds: u64) -> Self {
        self.state().slow_to_revoke = Duration::from_secs(seconds);
        self
    }

    pub fn set(&self, stage: Stage, value: &str) {
        self.state().stages.insert(stage, value.to_owned());
    }

    pub fn unset(&self, stage: Stage) {
        self.state().stages.remove(&stage);
    }

    pub fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        self.state().fails = kind.into();
    }

    pub fn fail_to_renew(&self, kind: impl Into<Option<ErrorKind>>) {
        self.state().fails_to_renew = kind.into();
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(kind: Option<ErrorKind>) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| Err(Error::new(kind, "as it was told")))
}

impl Provider for Scripted {
    const NAME: &'static str = "scripted";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.state();
        state.asked.push(format!("read {}", ask.stage().as_str()));
        failure(state.fails)?;
        if let Some((ttl, _)) = state.lends {
            state.lent += 1;
            let id = format!("lease-{}", state.lent);
            state.leases.insert(id.clone(), tokio::time::Instant::now());
            let lease = Lease::new(id, ttl).renewable(state.renewable);
            return Ok(Reading::new(format!("credential-{}", state.lent)).lease(lease));
        }
        let value = state.stages.get(&ask.stage());
        let value = value.ok_or_else(|| Error::new(ErrorKind::NotFound, "it has none of these"))?;
        let version = Version::new(value.as_str());
        if ask.known() == Some(&version) {
            return Ok(Reading::unchanged());
        }
        Ok(Reading::new(value.as_str()).version(version))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.state();
        state.asked.push(format!("renew {}", lease.id()));
        failure(state.fails_to_renew)?;
        let (ttl, max) = state.lends.ok_or_else(|| Error::new(ErrorKind::NotFound, "nothing is lent"))?;
        let granted = state.leases.get(lease.id()).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such lease"))?;
        let left = max.saturating_sub(granted.elapsed());
        Ok(Lease::new(lease.id(), ttl.min(left)).renewable(true))
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Error> {
        let slow = self.state().slow_to_revoke;
        self.state().asked.push(format!("revoke {}", lease.id()));
        tokio::time::sleep(slow).await;
        Ok(())
    }

    async fn close(&self) {
        self.state().asked.push("close".to_owned());
    }

    fn policy(&self) -> live::Policy {
        let (fresh_for, max_stale) = (Duration::from_secs(60), Duration::from_secs(3600));
        live::Policy { fresh_for, max_stale, jitter: 0.0, ..live::Policy::default() }
    }
}
