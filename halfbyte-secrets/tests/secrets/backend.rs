//! A backend in memory that tells how often it was asked, and fails when told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::live::Policy;
use halfbyte_secrets::{Ask, Error, ErrorKind, Provider, Reading, Version};

#[derive(Clone, Default)]
pub struct Backend(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answer: Mutex<Option<Result<Vec<u8>, Error>>>,
    version: Mutex<Option<Version>>,
    reads: AtomicUsize,
    unchanged: AtomicUsize,
}

impl Backend {
    pub fn holding(value: impl Into<Vec<u8>>) -> Self {
        let backend = Self::default();
        backend.set(value);
        backend
    }

    pub fn set(&self, value: impl Into<Vec<u8>>) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(value.into()));
    }

    pub fn fail(&self, kind: ErrorKind) {
        let error = Error::new(kind, "the backend said so").with_source("and that is why");
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(error));
    }

    pub fn version(&self, version: &str) {
        *self.0.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(Version::new(version));
    }

    pub fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    pub fn unchanged(&self) -> usize {
        self.0.unchanged.load(Ordering::SeqCst)
    }
}

impl Provider for Backend {
    const NAME: &'static str = "backend";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let known = ask.known();
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let version = self.0.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && known == version.as_ref() {
            self.0.unchanged.fetch_add(1, Ordering::SeqCst);
            return Ok(Reading::unchanged());
        }
        let answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let value = answer.unwrap_or_else(|| Err(Error::new(ErrorKind::NotFound, "the backend is empty")))?;
        let reading = Reading::new(value);
        Ok(match version {
            Some(version) => reading.version(version),
            None => reading,
        })
    }

    fn policy(&self) -> Policy {
        let (fresh_for, max_stale) = (Duration::from_secs(10), Duration::from_secs(60));
        Policy { fresh_for, max_stale, jitter: 0.0, ..Policy::default() }
    }
}
