//! API keys in the embedded store: their life, their file, and what never shows.

mod expiry;
mod file;
mod leaks;
mod life;
mod processes;

use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_core::home::Home;
use halfbyte_core::{Lifecycle, Principal, Problem};
use halfbyte_identity::ApiKeys;
use halfbyte_identity::api_keys::ApiKeySpec;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use crate::support::life;

/// The keys of one product on a clock of its own.
struct Kept {
    keys: ApiKeys,
    life: Lifecycle,
    home: Home,
    _folder: Option<TempDir>,
}

impl Kept {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        Self { _folder: Some(folder), ..Self::on(&home).await }
    }

    /// Other handles on one home stand for other processes: they share nothing but the file.
    async fn on(home: &Home) -> Self {
        let life = life();
        let keys = open(home, &life).await.expect("opened");
        Self { keys, life, home: home.clone(), _folder: None }
    }

    async fn create(&self) -> (String, SecretString) {
        let (key, secret) = self.keys.create(spec()).await.expect("created");
        (key.id, secret)
    }

    async fn ask(&self, key: &SecretString) -> Result<Principal, Problem> {
        self.keys.authenticate(key.expose_secret()).await
    }

    async fn refusal(&self, key: &SecretString) -> String {
        self.ask(key).await.expect_err("refused").to_string()
    }

    fn jump(&self, seconds: i64) {
        self.life.clock().jump(SignedDuration::from_secs(seconds));
    }

    fn now(&self) -> Timestamp {
        self.life.clock().now()
    }

    fn path(&self) -> std::path::PathBuf {
        self.home.path().join("identity/api-keys.json")
    }
}

async fn open(home: &Home, life: &Lifecycle) -> Result<ApiKeys, halfbyte_identity::Error> {
    let keys = ApiKeys::open(&ApiKeysBackend::Embedded, Environment::Development, home, life).await?;
    Ok(keys.expect("they are not off"))
}

fn spec() -> ApiKeySpec {
    ApiKeySpec::new("acme".parse().expect("a tenant"))
        .scopes(["labels:read", "labels:write"])
        .roles(["importer"])
        .label("nightly import")
}

const INVALID: &str = "invalid-token: the API key is not valid";
const EXPIRED: &str = "invalid-token: the API key has expired";
