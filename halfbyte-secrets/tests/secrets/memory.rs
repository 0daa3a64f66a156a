//! A backend in memory that can do all that the conformance suite asks for, and a provider of it that is right, or wrong in one
//! way.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_secrets::testing::conformance::{Backend, Outcome};
use halfbyte_secrets::{Ask, Error, ErrorKind, Lease, Name, Provider, Reading, Stage, Version};
use tokio::task::yield_now;
use tokio::time::Instant;

/// How long [`Flaw::IsBehind`] believes in what it has read; nothing of a check takes as long on a paused clock.
const BEHIND: Duration = Duration::from_secs(1);

/// What a provider has wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    MissingIsUnavailable,
    MissingPanics,
    MissingHangs,
    Trims,
    KnowsOnlyText,
    CutsLargeValues,
    MatchesBeginnings,
    BelievesInAnyVersion,
    NeverUnchanged,
    OneVersionForAll,
    ReadsInTwoParts,
    IsBehind,
    MixesReadersUp,
    IgnoresStages,
    PreviousIsTheFirst,
    PendingIsCurrent,
    HeldUpByADroppedRead,
    DeniedIsNotFound,
    OutageIsNotFound,
    OutageIsForGood,
    AnswersForWhoDoesNot,
    ServesWhatIsMalformed,
    OneLeaseForAll,
    NoLease,
    RenewsWhatHasEnded,
    EndedIsTemporary,
    GivesNothingBack,
    TellsTheValue,
    TellsItsBytes,
    TellsItInBase64,
    TellsItInASource,
    LogsTheValue,
    LogsItInASpan,
    LogsWhatManyRead,
    LogsAllAtFirst,
    VersionIsTheValue,
}

#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    flaw: Option<Flaw>,
}

#[derive(Default)]
struct State {
    secrets: HashMap<Name, Kept>,
    versions: u64,
    lent: HashSet<Name>,
    leases: HashSet<String>,
    denied: HashSet<Name>,
    malformed: HashSet<Name>,
    is_out: bool,
    is_slow: bool,
}

#[derive(Clone, Default)]
struct Kept {
    first: Vec<u8>,
    current: (u64, Vec<u8>),
    pending: Option<(u64, Vec<u8>)>,
    previous: Option<(u64, Vec<u8>)>,
}

impl Memory {
    pub fn new(flaw: impl Into<Option<Flaw>>) -> Self {
        Self { state: Arc::default(), flaw: flaw.into() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn version(&mut self, value: &[u8]) -> (u64, Vec<u8>) {
        self.versions += 1;
        (self.versions, value.to_vec())
    }
}

impl Backend for Memory {
    type Provider = Client;

    fn provider(&self) -> Client {
        if self.flaw == Some(Flaw::LogsAllAtFirst) {
            for kept in self.state().secrets.values() {
                tracing::trace!(there = ?kept.current, "made");
            }
        }
        Client {
            reads: AtomicUsize::new(0),
            memory: self.clone(),
            busy: AtomicBool::new(false),
            asked: Mutex::new(None),
            cache: Mutex::default(),
        }
    }

    async fn put(&self, name: &Name, value: &[u8]) -> Outcome {
        let mut state = self.state();
        let current = state.version(value);
        let kept = state.secrets.entry(name.clone()).or_default();
        if kept.first.is_empty() {
            kept.first = value.to_vec();
        } else {
            kept.previous = Some(kept.current.clone());
        }
        kept.current = current;
        Ok(())
    }

    async fn pend(&self, name: &Name, value: &[u8]) -> Outcome {
        let mut state = self.state();
        let pending = Some(state.version(value));
        state.secrets.get_mut(name).unwrap().pending = pending;
        Ok(())
    }

    async fn promote(&self, name: &Name) -> Outcome {
        let mut state = self.state();
        let kept = state.secrets.get_mut(name).unwrap();
        let next = kept.pending.take().unwrap();
        kept.previous = Some(std::mem::replace(&mut kept.current, next));
        Ok(())
    }

    fn keeps_previous(&self) -> bool {
        true
    }

    async fn deny(&self, name: &Name) -> Outcome {
        self.state().denied.insert(name.clone());
        Ok(())
    }

    async fn outage(&self) -> Outcome {
        self.state().is_out = true;
        Ok(())
    }

    async fn slow(&self) -> Outcome {
        self.state().is_slow = true;
        Ok(())
    }

    async fn malform(&self, name: &Name) -> Outcome {
        self.state().malformed.insert(name.clone());
        Ok(())
    }

    async fn restore(&self) -> Outcome {
        let mut state = self.state();
        state.denied.clear();
        state.malformed.clear();
        (state.is_out, state.is_slow) = (false, false);
        Ok(())
    }

    async fn lend(&self) -> Outcome<Name> {
        let name = Name::new("lent")?;
        self.state().lent.insert(name.clone());
        Ok(name)
    }

    async fn expire(&self, lease: &Lease) -> Outcome {
        self.state().leases.remove(lease.id());
        Ok(())
    }
}

pub struct Client {
    memory: Memory,
    busy: AtomicBool,
    reads: AtomicUsize,
    asked: Mutex<Option<Name>>,
    cache: Mutex<HashMap<Name, (Instant, Kept)>>,
}

impl Client {
    fn has(&self, flaw: Flaw) -> bool {
        self.memory.flaw == Some(flaw)
    }

    fn find(&self, name: &Name) -> Option<Kept> {
        let state = self.memory.state();
        if self.has(Flaw::MatchesBeginnings) {
            let mut found = state.secrets.iter().filter(|(other, _)| other.as_str().starts_with(name.as_str()));
            return found.next().map(|(_, kept)| kept.clone());
        }
        state.secrets.get(name).cloned()
    }

    async fn look(&self, name: &Name) -> Result<Kept, Error> {
        let (is_out, is_slow) = {
            let state = self.memory.state();
            (state.is_out, state.is_slow)
        };
        if is_out {
            if self.has(Flaw::OutageIsForGood) {
                self.busy.store(true, Ordering::SeqCst);
            }
            let kind = if self.has(Flaw::OutageIsNotFound) { ErrorKind::NotFound } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, "nobody is there"));
        }
        if is_slow && !self.has(Flaw::AnswersForWhoDoesNot) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let read_before = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((read, kept)) = read_before
            && self.has(Flaw::IsBehind)
            && read.elapsed() < BEHIND
        {
            return Ok(kept);
        }
        if self.memory.state().denied.contains(name) {
            let kind = if self.has(Flaw::DeniedIsNotFound) { ErrorKind::NotFound } else { ErrorKind::Denied };
            return Err(Error::new(kind, "it may not be read"));
        }
        let Some(kept) = self.find(name) else {
            match self.memory.flaw {
                Some(Flaw::MissingPanics) => panic!("it is not there"),
                Some(Flaw::MissingHangs) => std::future::pending().await,
                Some(Flaw::MissingIsUnavailable) => return Err(Error::new(ErrorKind::Unavailable, "not now")),
                _ => return Err(Error::new(ErrorKind::NotFound, "it is not there")),
            }
        };
        let read = (Instant::now(), kept.clone());
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), read);
        Ok(kept)
    }

    fn malformed(&self, value: &[u8]) -> Result<Reading, Error> {
        if self.has(Flaw::ServesWhatIsMalformed) {
            return Ok(Reading::new("<html>"));
        }
        let text = String::from_utf8_lossy(value).into_owned();
        let error = |message: String| Error::new(ErrorKind::Malformed, message);
        let bare = error("it is not what it should be".to_owned());
        Err(match self.memory.flaw {
            Some(Flaw::TellsTheValue) => error(format!("it is not what it should be: {}...", &text[..20])),
            Some(Flaw::TellsItsBytes) => bare.with_source(format!("{value:?}")),
            Some(Flaw::TellsItInBase64) => bare.with_source(format!("{{\"data\":\"x{}\"", base64(value))),
            Some(Flaw::TellsItInASource) => {
                bare.with_source(error("here".to_owned()).with_source(format!("at {text}")))
            }
            _ => bare,
        })
    }

    fn lend(&self) -> Reading {
        let mut state = self.memory.state();
        state.versions += 1;
        let number = if self.has(Flaw::OneLeaseForAll) { 0 } else { state.versions };
        let id = format!("lease-{number}");
        state.leases.insert(id.clone());
        let reading = Reading::new(format!("credential-{number}"));
        if self.has(Flaw::NoLease) {
            return reading;
        }
        reading.lease(Lease::new(id, Duration::from_secs(60)).renewable(true))
    }
}

fn base64(value: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(value)
}

impl Provider for Client {
    const NAME: &'static str = "memory";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "it is held up"));
        }
        self.busy.store(self.has(Flaw::HeldUpByADroppedRead), Ordering::SeqCst);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask.name().clone());
        yield_now().await;
        self.busy.store(false, Ordering::SeqCst);
        let mut name = ask.name().clone();
        if self.has(Flaw::MixesReadersUp) {
            name = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap();
        }
        if self.memory.state().lent.contains(&name) {
            return Ok(self.lend());
        }
        let kept = self.look(&name).await?;
        if self.memory.state().malformed.contains(&name) {
            return self.malformed(&kept.current.1);
        }
        let found = match ask.stage() {
            _ if self.has(Flaw::IgnoresStages) => Some(kept.current),
            Stage::Current if self.has(Flaw::PendingIsCurrent) => kept.pending.or(Some(kept.current)),
            Stage::Current => Some(kept.current),
            Stage::Pending => kept.pending,
            Stage::Previous if self.has(Flaw::PreviousIsTheFirst) => {
                kept.previous.map(|(version, _)| (version, kept.first))
            }
            Stage::Previous => kept.previous,
        };
        let (version, mut value) = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "nothing is in this stage"))?;
        let version = match self.memory.flaw {
            Some(Flaw::OneVersionForAll) => Version::new("v"),
            Some(Flaw::VersionIsTheValue) => Version::new(String::from_utf8_lossy(&value).into_owned()),
            _ => Version::new(format!("v{version}")),
        };
        match self.memory.flaw {
            Some(Flaw::LogsTheValue) => tracing::trace!(text = String::from_utf8_lossy(&value).as_ref(), "read"),
            Some(Flaw::LogsWhatManyRead) if self.reads.fetch_add(1, Ordering::Relaxed) == 60 => {
                tracing::trace!("read {}", String::from_utf8_lossy(&value));
            }
            Some(Flaw::LogsItInASpan) => drop(tracing::trace_span!("read", bytes = value.as_slice())),
            _ => {}
        }
        let is_known = ask.known() == Some(&version) || ask.known().is_some() && self.has(Flaw::BelievesInAnyVersion);
        if is_known && !self.has(Flaw::NeverUnchanged) {
            return Ok(Reading::unchanged());
        }
        match self.memory.flaw {
            Some(Flaw::Trims) => value = value.trim_ascii().to_vec(),
            Some(Flaw::KnowsOnlyText) => value = String::from_utf8_lossy(&value).into_owned().into_bytes(),
            Some(Flaw::CutsLargeValues) => value.truncate(60 * 1024),
            Some(Flaw::ReadsInTwoParts) if ask.stage() == Stage::Current => {
                yield_now().await;
                let now = self.look(&name).await?.current.1;
                let half = value.len() / 2;
                value.truncate(half);
                value.extend_from_slice(now.get(half..).unwrap_or_default());
            }
            _ => {}
        }
        Ok(Reading::new(value).version(version))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, Error> {
        if self.memory.state().leases.contains(lease.id()) || self.has(Flaw::RenewsWhatHasEnded) {
            return Ok(lease.clone());
        }
        let kind = if self.has(Flaw::EndedIsTemporary) { ErrorKind::Unavailable } else { ErrorKind::NotFound };
        Err(Error::new(kind, "there is no such lease"))
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Error> {
        if !self.has(Flaw::GivesNothingBack) {
            self.memory.state().leases.remove(lease.id());
        }
        Ok(())
    }
}
