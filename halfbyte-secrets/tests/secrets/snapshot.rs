//! Starts while the backend is down. A "process" is a `Secrets` of its own here, and a real one in the last test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, live};
use halfbyte_secrets::{
    Ask, BootSnapshot, Error, ErrorKind, ExposeSecret as _, Lease, Policy, Provider, Reading, Secret, SecretString,
    Secrets, Stage,
};
use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::time::sleep;

use super::backend::Backend;
use super::chain;

const CANARY: &str = "hunter2-canary";
const URL: &str = "https://vault.example.com/v1/secret";
/// With the FNV-1a of the URL.
const FILE: &str = "boot-0c18f1864192025c.age";

struct Setup {
    folder: TempDir,
    clock: Clock,
}

impl Setup {
    fn new() -> Self {
        let clock = Clock::manual("2030-01-01T12:00:00Z".parse().expect("a time"));
        Self { folder: tempfile::tempdir().expect("a folder"), clock }
    }

    /// Where a process has read `CANARY` and ended.
    async fn kept() -> Self {
        let setup = Self::new();
        setup.keep(CANARY).await;
        setup
    }

    async fn keep(&self, value: &str) {
        let token = self.start(Backend::holding(value), self.snapshot());
        token.ready().await.expect("read");
        written().await;
    }

    fn home(&self) -> Home {
        Home::open(self.folder.path().join("home")).expect("opened")
    }

    fn snapshot(&self) -> BootSnapshot {
        BootSnapshot::open(&self.home(), URL).expect("opened")
    }

    fn secrets(&self, provider: impl Provider, snapshot: impl Into<Option<BootSnapshot>>) -> Secrets {
        Secrets::builder(provider).snapshot(snapshot).build(&Lifecycle::new(self.clock.clone()))
    }

    /// A process that has just started.
    fn start(&self, provider: impl Provider, snapshot: impl Into<Option<BootSnapshot>>) -> Secret<String> {
        self.secrets(provider, snapshot).get("token")
    }

    fn start_without_backend(&self) -> Secret<String> {
        self.start(down(), self.snapshot())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home/secrets").join(name)
    }

    fn wait(&self, time: Duration) {
        self.clock.jump(SignedDuration::try_from(time).expect("a duration"));
    }

    /// What is in the file, in clear.
    fn content(&self) -> Vec<u8> {
        let Ok(sealed) = fs::read(self.path(FILE)) else { return Vec::new() };
        let key = fs::read_to_string(self.path("boot.key")).expect("read");
        let key: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
        age::decrypt(&key, &sealed).expect("decrypted")
    }

    fn holds(&self, text: &str) -> bool {
        contains(&self.content(), text)
    }
}

fn contains(hay: &[u8], text: &str) -> bool {
    hay.windows(text.len()).any(|part| part == text.as_bytes())
}

fn down() -> Backend {
    let backend = Backend::default();
    backend.fail(ErrorKind::Unavailable);
    backend
}

/// On a paused clock, time goes on only when no thread writes any more.
async fn written() {
    sleep(Duration::from_millis(1)).await;
}

fn value(secret: &Secret<String>) -> String {
    secret.load().expect("loaded").expose_secret().clone()
}

async fn refused(secret: &Secret<String>) -> Error {
    secret.ready().await.expect_err("nothing is to be had")
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_product_starts_while_its_backend_is_down_only_with_a_snapshot() {
    let setup = Setup::kept().await;
    assert!(refused(&setup.start(down(), None)).await.is_unavailable());
    let token = setup.start_without_backend();
    token.ready().await.expect("restored");
    assert_eq!((value(&token).as_str(), token.generation()), (CANARY, 1));
    assert!(refused(&setup.secrets(down(), setup.snapshot()).get("another")).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn when_the_backend_is_back_its_word_counts_and_the_same_value_is_no_news() {
    let setup = Setup::kept().await;
    let backend = down();
    let token = setup.start(backend.clone(), setup.snapshot());
    token.ready().await.expect("restored");
    sleep(Duration::from_secs(6)).await;
    assert!(backend.reads() >= 2, "it is asked again soon");
    backend.set(CANARY);
    let reads = backend.reads();
    sleep(Duration::from_secs(31)).await;
    assert!(backend.reads() > reads);
    assert_eq!((token.generation(), token.status().failures), (1, 0));

    backend.set("hunter3");
    token.changed(1).await;
    assert_eq!(value(&token), "hunter3");
    assert_eq!(token.previous().expect("remembered").expose_secret(), CANARY);
    written().await;
    assert!(setup.holds("hunter3") && !setup.holds(CANARY));
}

#[tokio::test(start_paused = true)]
async fn only_a_failure_that_may_pass_is_bridged() {
    for (kind, is_bridged, stays) in [
        (ErrorKind::Unavailable, true, true),
        (ErrorKind::Throttled, true, true),
        (ErrorKind::Malformed, false, true),
        (ErrorKind::Denied, false, false),
        (ErrorKind::NotFound, false, false),
    ] {
        let setup = Setup::kept().await;
        let backend = Backend::default();
        backend.fail(kind);
        let token = setup.start(backend.clone(), setup.snapshot());
        assert_eq!(token.ready().await.map_err(|error| error.kind()), if is_bridged { Ok(()) } else { Err(kind) });
        backend.fail(ErrorKind::Unavailable);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(token.load().is_ok(), is_bridged, "{kind:?}: once it has answered, the snapshot counts no more");
        assert_eq!(setup.holds(CANARY), stays, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_answer_is_bridged_in_time() {
    struct Silent;
    impl Provider for Silent {
        const NAME: &'static str = "silent";
        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            std::future::pending().await
        }
    }
    let setup = Setup::kept().await;
    let token = setup.start(Silent, setup.snapshot());
    token.ready().await.expect("restored within the time that a fetch has");
    assert_eq!(value(&token), CANARY);
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_bridged_and_then_heard() {
    struct Slow;
    impl Provider for Slow {
        const NAME: &'static str = "slow";
        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            sleep(Duration::from_secs(9)).await;
            Ok(Reading::new("hunter3"))
        }
    }
    let setup = Setup::kept().await;
    let began = tokio::time::Instant::now();
    let token = setup.start(Slow, setup.snapshot());
    token.ready().await.expect("restored");
    assert_eq!((value(&token).as_str(), began.elapsed().as_secs()), (CANARY, 5));
    token.changed(1).await;
    assert_eq!(value(&token), "hunter3");
}

#[tokio::test(start_paused = true)]
async fn a_value_is_used_no_longer_than_a_day_after_it_was_confirmed() {
    let setup = Setup::kept().await;
    setup.wait(24 * HOUR - Duration::from_secs(20));
    let token = setup.start_without_backend();
    token.ready().await.expect("just young enough");
    sleep(Duration::from_secs(15)).await;
    assert_eq!(value(&token), CANARY);
    sleep(Duration::from_secs(10)).await;
    assert!(token.load().expect_err("a day is over").is_unavailable());

    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    written().await;
    assert!(!setup.path(FILE).exists(), "what is too old is deleted");
}

#[tokio::test(start_paused = true)]
async fn restoring_a_value_does_not_make_it_younger() {
    let setup = Setup::kept().await;
    for _ in 0..3 {
        setup.wait(7 * HOUR);
        setup.start_without_backend().ready().await.expect("young enough");
        written().await;
    }
    setup.wait(4 * HOUR);
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_change_is_confirmed_by_the_backend_that_is_up() {
    let setup = Setup::new();
    let backend = Backend::holding(CANARY);
    backend.version("1");
    let token = setup.start(backend.clone(), setup.snapshot());
    token.ready().await.expect("read");
    for _ in 0..60 {
        setup.wait(HOUR);
        sleep(Duration::from_secs(320)).await;
    }
    let (reads, unchanged) = (backend.reads(), backend.unchanged());
    assert!(unchanged > reads * 9 / 10, "nearly all reads ask for news only: {unchanged} of {reads}");
    assert_eq!(token.generation(), 1);
    drop(token);
    setup.wait(22 * HOUR);
    setup.start_without_backend().ready().await.expect("confirmed 22 hours ago");
}

#[tokio::test(start_paused = true)]
async fn the_age_may_be_bounded_otherwise() {
    let setup = Setup::kept().await;
    let short = || setup.snapshot().max_age(HOUR);
    setup.wait(HOUR / 2);
    setup.start(down(), short()).ready().await.expect("half an hour");
    setup.wait(HOUR / 2);
    assert!(refused(&setup.start(down(), short())).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_used_and_then_replaced() {
    type Harm = fn(&Setup);
    let harms: [Harm; 8] = [
        |setup| fs::write(setup.path(FILE), "").expect("written"),
        |setup| fs::write(setup.path(FILE), vec![0; 2 * 1024 * 1024]).expect("written"),
        |setup| {
            let mut sealed = fs::read(setup.path(FILE)).expect("read");
            sealed.pop();
            fs::write(setup.path(FILE), sealed).expect("written");
        },
        |setup| {
            let mut sealed = fs::read(setup.path(FILE)).expect("read");
            let last = sealed.len() - 20;
            sealed[last] ^= 1;
            fs::write(setup.path(FILE), sealed).expect("written");
        },
        |setup| {
            let key = fs::read_to_string(setup.path("boot.key")).expect("read");
            let key: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
            let other = age::encrypt(&key.to_public(), b"something else").expect("encrypted");
            fs::write(setup.path(FILE), other).expect("written");
        },
        |setup| fs::remove_file(setup.path("boot.key")).expect("removed"),
        |setup| {
            fs::remove_file(setup.path("boot.key")).expect("removed");
            let text = format!("{}\n", key().expose_secret());
            setup.home().folder("secrets").and_then(|folder| folder.replace("boot.key", text.as_bytes())).expect("set");
        },
        |setup| fs::set_permissions(setup.path(FILE), fs::Permissions::from_mode(0o644)).expect("set"),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let setup = Setup::kept().await;
        harm(&setup);
        let error = refused(&setup.start_without_backend()).await;
        assert!(error.is_unavailable() && !chain(&error).contains(CANARY), "{number}: {error:?}");
        setup.keep("hunter3").await;
        let token = setup.start_without_backend();
        token.ready().await.expect("replaced");
        assert_eq!(value(&token), "hunter3", "{number}");
    }
}

fn key() -> SecretString {
    SecretString::from(age::x25519::Identity::generate().to_string().expose_secret().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_key_from_elsewhere_is_used_and_none_is_written() {
    let (setup, mine) = (Setup::new(), key());
    let with = |key: &SecretString| setup.snapshot().key(key).expect("a key");
    setup.start(Backend::holding(CANARY), with(&mine)).ready().await.expect("read");
    written().await;
    assert!(setup.path(FILE).exists() && !setup.path("boot.key").exists());
    setup.start(down(), with(&mine)).ready().await.expect("restored");
    assert!(refused(&setup.start(down(), with(&key()))).await.is_unavailable());
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    let error = setup.snapshot().key(&CANARY.into()).expect_err("no key");
    assert!(error.is_malformed() && !chain(&error).contains(CANARY), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_others_may_read_is_not_used_nor_replaced() {
    let setup = Setup::kept().await;
    fs::set_permissions(setup.path("boot.key"), fs::Permissions::from_mode(0o644)).expect("set");
    let before = fs::read(setup.path("boot.key")).expect("read");
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    setup.keep("hunter3").await;
    assert_eq!(fs::read(setup.path("boot.key")).expect("read"), before);
}

#[tokio::test(start_paused = true)]
async fn the_values_of_another_backend_are_not_used() {
    let setup = Setup::kept().await;
    let other = BootSnapshot::open(&setup.home(), "https://vault.example.com/v1/other").expect("opened");
    assert!(refused(&setup.start(down(), other)).await.is_unavailable());
    setup.start_without_backend().ready().await.expect("and stay for their own");
}

#[tokio::test(start_paused = true)]
async fn two_backends_in_one_home_do_not_replace_the_values_of_each_other() {
    let setup = Setup::kept().await;
    let other = || BootSnapshot::open(&setup.home(), "https://vault.example.com/v1/other").expect("opened");
    setup.start(Backend::holding("hunter3"), other()).ready().await.expect("read");
    written().await;
    for (snapshot, expected) in [(setup.snapshot(), CANARY), (other(), "hunter3")] {
        let token = setup.start(down(), snapshot);
        token.ready().await.expect("restored");
        assert_eq!(value(&token), expected);
    }
}

/// Lends its values.
struct Lender;

impl Provider for Lender {
    const NAME: &'static str = "lender";

    async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
        Ok(Reading::new(CANARY).lease(Lease::new("lease-1", Duration::from_secs(600))))
    }
}

/// Has a value that is about to be current.
struct Rotating;

impl Provider for Rotating {
    const NAME: &'static str = "rotating";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        Ok(Reading::new(if ask.stage() == Stage::Current { "current" } else { "pending" }))
    }
}

#[tokio::test(start_paused = true)]
async fn leased_values_and_those_that_must_not_be_on_disk_are_never_written() {
    let setup = Setup::new();
    setup.start(Lender, setup.snapshot()).ready().await.expect("read");
    written().await;
    assert!(!setup.path(FILE).exists() && !setup.path("boot.key").exists());

    let never = Policy::from(live::Policy::default()).never_on_disk();
    let secrets = Secrets::builder(Backend::holding(CANARY))
        .policy_for("token", never.clone())
        .snapshot(setup.snapshot())
        .build(&Lifecycle::new(setup.clock.clone()));
    secrets.get::<String>("token").ready().await.expect("read");
    written().await;
    assert!(!setup.path(FILE).exists());

    let token = setup.start(Rotating, setup.snapshot());
    token.ready().await.expect("read");
    assert_eq!(token.reject(1).await.expect("another").expose_secret(), "pending");
    written().await;
    assert!(setup.holds("current") && !setup.holds("pending"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_has_become_one_never_to_write_is_removed() {
    let setup = Setup::kept().await;
    setup.start(Lender, setup.snapshot()).ready().await.expect("read");
    written().await;
    assert!(!setup.holds(CANARY));

    setup.keep(CANARY).await;
    assert!(setup.holds(CANARY));
    let start = |backend| {
        let never = Policy::from(backend_policy()).never_on_disk();
        Secrets::builder(backend).policy(never).snapshot(setup.snapshot()).build(&Lifecycle::new(setup.clock.clone()))
    };
    assert!(refused(&start(down()).get("token")).await.is_unavailable());
    start(Backend::holding(CANARY)).get::<String>("token").ready().await.expect("read");
    written().await;
    assert!(!setup.holds(CANARY));
}

fn backend_policy() -> live::Policy {
    Backend::default().policy()
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_shape_than_is_asked_for_is_not_restored() {
    let setup = Setup::kept().await;
    let secret = setup.secrets(down(), setup.snapshot()).get::<halfbyte_secrets::Json<Vec<String>>>("token");
    let error = secret.ready().await.expect_err("not JSON");
    assert!(error.is_unavailable() && !chain(&error).contains(CANARY), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_on_the_disk_is_in_clear_or_open_to_others() {
    let setup = Setup::kept().await;
    let mut names = Vec::new();
    for entry in fs::read_dir(setup.path("")).expect("listed") {
        let path = entry.expect("an entry").path();
        let content = fs::read(&path).expect("read");
        for text in [CANARY, "token", "vault.example.com"] {
            assert!(!contains(&content, text), "{text} in {}", path.display());
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, [FILE, "boot.key", "boot.lock"]);
    assert!(!format!("{:?}", setup.snapshot()).contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_written_is_no_matter_to_who_reads() {
    let setup = Setup::new();
    let snapshot = setup.snapshot();
    fs::remove_dir(setup.path("")).expect("removed");
    let token = setup.start(Backend::holding(CANARY), snapshot);
    token.ready().await.expect("read all the same");
    written().await;
    assert_eq!(value(&token), CANARY);
}

#[test]
fn a_home_that_cannot_be_used_means_no_snapshot() {
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let of = |home: PathBuf| Config::parse([("HALFBYTE_HOME", home.to_str().expect("text"))]).expect("configured");
    assert!(BootSnapshot::for_backend(&of(setup.folder.path().join("home")), URL).is_some());
    fs::write(setup.folder.path().join("file"), "").expect("written");
    assert!(BootSnapshot::for_backend(&of(setup.folder.path().join("file")), URL).is_none());
}

const EACH: usize = 12;

/// One process of the test below, with a home of its own when it runs by itself.
#[tokio::test]
async fn a_process_keeps_what_it_reads() {
    let config = Config::from_env().expect("configured");
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let shared = config.other.get("SNAPSHOT_TEST_HOME").map(PathBuf::from);
    let number = config.other.get("SNAPSHOT_TEST_NUMBER").unwrap_or("0").to_owned();
    let home = Home::open(shared.unwrap_or_else(|| setup.folder.path().join("home"))).expect("opened");
    let snapshot = BootSnapshot::open(&home, URL).expect("opened");
    let secrets = setup.secrets(Backend::holding(format!("{CANARY}-{number}")), snapshot);
    let names: Vec<String> = (0..EACH).map(|name| format!("p{number}-{name}")).collect();
    let handles: Vec<Secret<String>> = names.iter().map(|name| secrets.get(name)).collect();
    for handle in &handles {
        handle.ready().await.expect("read");
    }
    for name in &names {
        // Until the thread that writes has written: a process of the next moment finds it.
        let again = setup.secrets(down(), BootSnapshot::open(&home, URL).expect("opened")).get::<String>(name);
        while again.ready().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn processes_share_one_snapshot_and_lose_nothing_of_each_other() {
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let processes: Vec<_> = ["1", "2", "3"]
        .map(|number| {
            let child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "snapshot::a_process_keeps_what_it_reads"])
                .env("SNAPSHOT_TEST_HOME", setup.folder.path().join("home"))
                .env("SNAPSHOT_TEST_NUMBER", number)
                .stdout(Stdio::null())
                .spawn();
            (number, child.expect("started"))
        })
        .into();
    for (number, mut process) in processes {
        assert!(process.wait().expect("ended").success(), "{number}");
    }
    let secrets = setup.secrets(down(), setup.snapshot());
    for number in 1..=3 {
        for name in 0..EACH {
            let secret = secrets.get::<String>(&format!("p{number}-{name}"));
            secret.ready().await.expect("restored");
            assert_eq!(value(&secret), format!("{CANARY}-{number}"));
        }
    }
}
