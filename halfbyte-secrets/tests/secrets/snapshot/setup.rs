//! A folder in which "processes" leave something behind: each is a `Secrets` of its own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle};
use halfbyte_secrets::{BootSnapshot, Error, ErrorKind, ExposeSecret as _, Provider, Secret, Secrets};
use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::time::sleep;

use super::super::backend::Backend;

pub const CANARY: &str = "hunter2-canary";
pub const URL: &str = "https://vault.example.com/v1/secret";

/// With the FNV-1a of the URL.
pub const FILE: &str = "boot-0c18f1864192025c.age";

pub struct Setup {
    pub folder: TempDir,
    pub clock: Clock,
}

impl Setup {
    pub fn new() -> Self {
        let clock = Clock::manual("2030-01-01T12:00:00Z".parse().expect("a time"));
        Self { folder: tempfile::tempdir().expect("a folder"), clock }
    }

    /// Where a process has read `CANARY` and ended.
    pub async fn kept() -> Self {
        let setup = Self::new();
        setup.keep(CANARY).await;
        setup
    }

    pub async fn keep(&self, value: &str) {
        let token = self.start(Backend::holding(value), self.snapshot());
        token.ready().await.expect("read");
        written().await;
    }

    pub fn home(&self) -> Home {
        Home::open(self.folder.path().join("home")).expect("opened")
    }

    pub fn snapshot(&self) -> BootSnapshot {
        BootSnapshot::open(&self.home(), URL).expect("opened")
    }

    pub fn secrets(&self, provider: impl Provider, snapshot: impl Into<Option<BootSnapshot>>) -> Secrets {
        Secrets::builder(provider).snapshot(snapshot).build(&Lifecycle::new(self.clock.clone()))
    }

    /// A process that has just started.
    pub fn start(&self, provider: impl Provider, snapshot: impl Into<Option<BootSnapshot>>) -> Secret<String> {
        self.secrets(provider, snapshot).get("token")
    }

    pub fn start_without_backend(&self) -> Secret<String> {
        self.start(down(), self.snapshot())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home/secrets").join(name)
    }

    pub fn wait(&self, time: Duration) {
        self.clock.jump(SignedDuration::try_from(time).expect("a duration"));
    }

    /// What is in the file, in clear.
    pub fn content(&self) -> Vec<u8> {
        let Ok(sealed) = fs::read(self.path(FILE)) else { return Vec::new() };
        let key = fs::read_to_string(self.path("boot.key")).expect("read");
        let key: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
        age::decrypt(&key, &sealed).expect("decrypted")
    }

    pub fn holds(&self, text: &str) -> bool {
        contains(&self.content(), text)
    }
}

pub fn contains(hay: &[u8], text: &str) -> bool {
    hay.windows(text.len()).any(|part| part == text.as_bytes())
}

pub fn down() -> Backend {
    let backend = Backend::default();
    backend.fail(ErrorKind::Unavailable);
    backend
}

/// On a paused clock, time goes on only when no thread writes any more.
pub async fn written() {
    sleep(Duration::from_millis(1)).await;
}

pub fn value(secret: &Secret<String>) -> String {
    secret.load().expect("loaded").expose_secret().clone()
}

pub async fn refused(secret: &Secret<String>) -> Error {
    secret.ready().await.expect_err("nothing is to be had")
}

pub const HOUR: Duration = Duration::from_secs(3600);
