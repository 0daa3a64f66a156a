//! What the checks have in common: values that can be found again, reads that are remembered, and what to say of them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::{Display, Write as _};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::time::{Instant, sleep, timeout};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use super::conformance::{Backend, Hindrance};
use super::watch::{Look, Watch};
use crate::{Ask, Error, ErrorKind, Lease, Name, Provider, Reading, Version};

/// For one check.
pub(super) const LIMIT: Duration = Duration::from_secs(180);
/// For one read.
const READ: Duration = Duration::from_secs(60);
/// How long a backend may take to be well again, or to know a version for sure.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a part of a value has to be that must be nowhere.
const PART: usize = 12;
/// How much is remembered of what was seen, and as much again of the log.
const SEEN: usize = 16 << 20;

pub(super) struct Trial<B> {
    pub(super) backend: B,
    /// Keeps the names and values of this run apart from those of others.
    seed: RandomState,
    number: AtomicU64,
    /// What all values of this run are made of.
    canaries: Mutex<Vec<String>>,
    /// All that was shown to who reads, except for the values.
    shown: Seen,
    logged: Seen,
    /// What the provider logs goes there, and nowhere else.
    pub(super) log: Dispatch,
}

/// Texts, and where each was seen first.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Texts>>);

#[derive(Default)]
struct Texts {
    places: BTreeMap<String, String>,
    size: usize,
    is_cut: bool,
}

impl Look for Seen {
    fn look(&self, bytes: &[u8], place: &dyn Fn() -> String) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(bytes);
        if texts.places.contains_key(&*text) {
            return;
        }
        if texts.size + text.len() > SEEN {
            texts.is_cut = true;
            return;
        }
        texts.size += text.len();
        texts.places.insert(text.into_owned(), place());
    }
}

impl Seen {
    /// In which form a part of one of `canaries` was seen, and where.
    fn find(&self, canaries: &[String]) -> Option<(&'static str, String)> {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = texts.places.keys().map(String::as_str).collect::<Vec<_>>().join("\n");
        // Most often there is nothing, and that shows at once. What is there may be of two texts, and then is none.
        Shown::of(&all).any(canaries)?;
        texts.places.iter().find_map(|(text, place)| Some((Shown::of(text).any(canaries)?, place.clone())))
    }

    fn is_cut(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_cut
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).places.is_empty()
    }
}

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Stop {
    NotRun(String),
    Failed(String),
}

impl From<Hindrance> for Stop {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance {
            Hindrance::Cannot(why) => Self::NotRun(why.to_owned()),
            Hindrance::Failed(error) => Self::Failed(format!("the backend could not be set up: {error}")),
        }
    }
}

pub(super) fn failed<T>(why: impl Display) -> Result<T, Stop> {
    Err(Stop::Failed(why.to_string()))
}

impl<B: Backend> Trial<B> {
    pub(super) fn new(backend: B) -> Self {
        let (seed, number) = (RandomState::new(), AtomicU64::new(0));
        let (shown, logged) = (Seen::default(), Seen::default());
        let log = Dispatch::new(Watch::new(logged.clone()));
        Self { backend, seed, number, canaries: Mutex::default(), shown, logged, log }
    }

    fn random(&self) -> u64 {
        self.seed.hash_one(self.number.fetch_add(1, Ordering::Relaxed))
    }

    /// A name that nobody has.
    pub(super) fn name(&self) -> Result<Name, Stop> {
        self.name_like("conformance")
    }

    pub(super) fn name_like(&self, like: &str) -> Result<Name, Stop> {
        Name::new(&format!("{like}-{:016x}", self.random())).map_err(|error| Stop::Failed(error.to_string()))
    }

    /// A text of `length` bytes that nobody has, any part of which is known again; the shortest are no secrets.
    pub(super) fn value(&self, length: usize) -> Vec<u8> {
        let canary = format!("{:016x}{:016x}", self.random(), self.random());
        let value = canary.bytes().cycle().take(length).collect();
        if length >= PART {
            self.canaries.lock().unwrap_or_else(PoisonError::into_inner).push(canary);
        }
        value
    }

    /// Has a secret with a value; answers both, and a provider that reads them.
    pub(super) async fn secret(&self) -> Result<(Name, Vec<u8>, B::Provider), Stop> {
        let (name, value) = (self.name()?, self.value(48));
        self.backend.put(&name, &value).await?;
        Ok((name, value, self.backend.provider()))
    }

    /// Reads, and remembers what can be seen of the answer.
    pub(super) async fn read(&self, provider: &B::Provider, ask: Ask<'_>) -> Result<Result<Reading, Error>, Stop> {
        match timeout(READ, provider.read(ask).with_subscriber(self.log.clone())).await {
            Ok(answer) => {
                match &answer {
                    Ok(reading) => self.see(&format!("{reading:?}"), "the Debug of a reading"),
                    Err(error) => self.see_error(error),
                }
                Ok(answer)
            }
            Err(_) => failed(format!("a read was not answered within {READ:?}")),
        }
    }

    /// The value and the version of what must be there.
    pub(super) async fn read_value(
        &self,
        provider: &B::Provider,
        ask: Ask<'_>,
    ) -> Result<(Vec<u8>, Option<Version>), Stop> {
        match self.read(provider, ask).await? {
            Ok(reading) => match reading.value() {
                Some(value) => Ok((value.to_vec(), reading.version.clone())),
                None => failed("\"unchanged\" was answered where a value was to be"),
            },
            Err(error) => failed(format!("a value was to be read, and the answer is {:?}: {error}", error.kind())),
        }
    }

    /// Reads the current value of `name`, which is to be `value`.
    pub(super) async fn expect(&self, provider: &B::Provider, name: &Name, value: &[u8]) -> Result<(), Stop> {
        let (read, _) = self.read_value(provider, Ask::current(name)).await?;
        same(&read, value)
    }

    /// The same within a while, after the backend was in trouble.
    pub(super) async fn expect_soon(&self, provider: &B::Provider, name: &Name, value: &[u8]) -> Result<(), Stop> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.expect(provider, name, value).await {
                Err(Stop::Failed(why)) if Instant::now() >= until => {
                    return failed(format!("after the end of it: {why}"));
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Reads what is to be refused, with one of `kinds`.
    pub(super) async fn expect_error(
        &self,
        provider: &B::Provider,
        ask: Ask<'_>,
        kinds: &[ErrorKind],
    ) -> Result<(), Stop> {
        match self.read(provider, ask).await? {
            Err(error) if kinds.contains(&error.kind()) => Ok(()),
            Err(error) => failed(format!("the error is to be one of {kinds:?} and is {:?}: {error}", error.kind())),
            Ok(reading) if reading.value().is_some() => failed(format!("a value was answered in place of {kinds:?}")),
            Ok(_) => failed(format!("\"unchanged\" was answered in place of {kinds:?}")),
        }
    }

    /// The version that the provider names for `name`: it may take a while to be sure. `None` if it never does.
    pub(super) async fn version(&self, provider: &B::Provider, name: &Name) -> Result<Option<Version>, Stop> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (_, version) = self.read_value(provider, Ask::current(name)).await?;
            if version.is_some() || Instant::now() >= until {
                return Ok(version);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn see_lease(&self, lease: &Lease) {
        self.see(&format!("{lease:?}"), "the Debug of a lease");
    }

    pub(super) fn see_error(&self, error: &Error) {
        let mut text = format!("{error:?}");
        let mut source: Option<&dyn StdError> = Some(error);
        while let Some(error) = source {
            // A text has no way to fail to be written.
            let _ = write!(text, " {error} {error:?} {error:#?}");
            source = error.source();
        }
        self.see(&text, "an error");
    }

    fn see(&self, text: &str, place: &str) {
        self.shown.look(text.as_bytes(), &|| place.to_owned());
    }

    /// Searches all that was seen, and the log, for parts of all values.
    pub(super) fn unseen(&self) -> Result<(), Stop> {
        let canaries = self.canaries.lock().unwrap_or_else(PoisonError::into_inner);
        for seen in [&self.shown, &self.logged] {
            if let Some((form, place)) = seen.find(&canaries) {
                return failed(format!("a part of a value is {form} in {place}"));
            }
        }
        if self.shown.is_empty() {
            failed("nothing was read")
        } else if self.shown.is_cut() || self.logged.is_cut() {
            Err(Stop::NotRun(format!("there is more to look at than {SEEN} bytes, in which nothing was found")))
        } else {
            Ok(())
        }
    }
}

/// A text in which a part of a value may be.
struct Shown<'a> {
    exact: &'a str,
    /// Spaces and case are no disguise.
    plain: String,
}

impl<'a> Shown<'a> {
    fn of(exact: &'a str) -> Self {
        Self { exact, plain: exact.split_whitespace().collect::<String>().to_ascii_lowercase() }
    }

    fn any(&self, canaries: &[String]) -> Option<&'static str> {
        canaries.iter().find_map(|canary| self.form(canary))
    }

    /// In which form a part of `canary` is in it, if it is.
    fn form(&self, canary: &str) -> Option<&'static str> {
        let Self { exact, plain } = self;
        // A value is its canary over and over, and so is what a part of it may cross.
        let twice = canary.repeat(2);
        let parts = || (0..canary.len()).map(|start| &twice[start..start + PART]);
        let listed = |part: &str| part.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
        let hex = |part: &str| part.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Wherever it begins in a longer text, one of three parts next to each other begins on a boundary of four letters.
        if parts().any(|part| plain.contains(part)) {
            Some("readable")
        } else if parts().any(|part| exact.contains(&STANDARD_NO_PAD.encode(part))) {
            Some("in base64")
        } else if parts().any(|part| plain.contains(&hex(part))) {
            Some("in hex")
        } else if parts().any(|part| plain.contains(&listed(part))) {
            Some("as a list of bytes")
        } else {
            None
        }
    }
}

pub(super) fn same(read: &[u8], put: &[u8]) -> Result<(), Stop> {
    if read == put {
        return Ok(());
    }
    let at = read.iter().zip(put).take_while(|(read, put)| read == put).count();
    failed(format!("{} bytes were put, {} were read, and they differ from byte {at} on", put.len(), read.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_found_where_it_was_and_that_there_was_more_is_known() {
        let seen = Seen::default();
        let canary = "0123456789abcdef".repeat(2);
        seen.look(b"!nothing of it", &|| "the first".to_owned());
        seen.look(canary.as_bytes(), &|| "the second".to_owned());
        seen.look(canary.as_bytes(), &|| "the third".to_owned());
        let other = "fedcba9876543210".repeat(2);
        assert_eq!(seen.find(&[other.clone(), canary]), Some(("readable", "the second".to_owned())));
        assert!(seen.find(std::slice::from_ref(&other)).is_none() && !seen.is_cut());
        seen.look(&vec![b'x'; SEEN], &|| "too much".to_owned());
        seen.look(other.as_bytes(), &|| "still".to_owned());
        assert!(seen.is_cut() && seen.find(&[other]).is_some());
    }
    #[test]
    fn what_two_texts_make_together_is_in_neither() {
        let (seen, canary) = (Seen::default(), "0123456789abcdef".repeat(2));
        for part in ["a 012345678", "9abcdef01", "9ABCDEF 012345"] {
            seen.look(part.as_bytes(), &|| part.to_owned());
            let found = seen.find(std::slice::from_ref(&canary));
            assert_eq!(found, (part.len() == 14).then(|| ("readable", part.to_owned())));
        }
    }
}
