//! Processes that take secrets out of their environment, looked at from outside of them and from a process that they start.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_core::config::Config;
use halfbyte_secrets::openbao::{Auth, OpenBao};
use halfbyte_secrets::{Ask, Env, ErrorKind, ExposeSecret as _, Name, Provider as _, Secrets};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::lifecycle;
use super::openbao::server::{Answer, Server};

const CANARY: &str = "hunter2-canary";

/// Runs the test `name` of this program in a process of its own, with these variables.
fn run(name: &str, variables: &[(&str, impl AsRef<OsStr>)]) -> Output {
    // Should a program ever be started anew with other arguments, it must not go on so for ever.
    let is_child = Config::from_env().expect("configured").other.get("TEST_IS_CHILD").is_some();
    assert!(!is_child, "a process of these tests starts none itself");
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("env_taken::{name}"), "--nocapture", "--test-threads=1"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("TEST_IS_CHILD", "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let number = child.id();
    let output = child.wait_with_output().expect("ended");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    if said.contains("process ") {
        assert!(said.contains(&format!("process {number}\n")), "another process number: {said}");
    }
    output
}

fn contains(hay: &[u8]) -> bool {
    hay.windows(CANARY.len()).any(|part| part == CANARY.as_bytes())
}

/// What this program and one that it starts show, each as the operating system has it.
fn environments() -> [Vec<u8>; 2] {
    let own = fs::read("/proc/self/environ").expect("read");
    let child = Command::new("cat").arg("/proc/self/environ").output().expect("run");
    assert!(child.status.success() && !child.stdout.is_empty());
    [own, child.stdout]
}

async fn read(vars: &[(&str, &str)], name: &str) -> Option<String> {
    let vars = vars.iter().copied().chain([("HALFBYTE_SECRETS_URL", "env:")]);
    let config = Config::parse(vars).expect("configured");
    let secret = Secrets::open(&config, &lifecycle()).expect("opened").get::<Option<String>>(name);
    secret.ready().await.expect("read");
    secret.load().expect("loaded").expose_secret().clone()
}

/// A process of the tests below; run by itself it has nothing to take.
#[tokio::test]
async fn a_process_takes() {
    let before = environments();
    Env::take(&["test-taken", "test.other", "test-unset"]).expect("taken");
    assert!(Env::is_taken());
    println!("process {}", std::process::id());
    for environment in environments() {
        assert!(!contains(&environment), "still there: {}", String::from_utf8_lossy(&environment));
    }
    // Only the old program had it, and that one is gone.
    assert!(before.iter().all(|environment| !contains(environment)));
    for entry in fs::read_dir("/proc/self/fd").expect("listed") {
        let path = entry.expect("an entry").path();
        if fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().contains("halfbyte-secrets")) {
            assert_eq!(fs::metadata(&path).expect("there").len(), 0, "what children inherit is empty");
            fs::write(&path, format!("{}\0TEST_TAKEN=poison\0", std::process::id())).expect_err("and stays so");
        }
    }
    let is_set = Config::from_env().expect("configured").other.get("EXPECT_TAKEN").is_some();
    let expected = is_set.then(|| format!("{CANARY}=1"));
    assert_eq!(read(&[], "test-taken").await, expected);
    assert_eq!(read(&[], "TEST_TAKEN").await, expected, "by any spelling of its name");
    assert_eq!(read(&[], "test-unset").await, None);
    assert_eq!(read(&[("TEST_LEFT", "x")], "test-left").await.as_deref(), Some("x"), "others are read as always");
    Env::take(&["test-taken"]).expect("again, for nothing");
    assert_eq!(read(&[], "test-taken").await, expected);
}

#[test]
fn what_was_taken_is_in_no_environment_any_more_and_is_still_read() {
    run(
        "a_process_takes",
        &[("TEST_TAKEN", format!("{CANARY}=1").as_str()), ("TEST_OTHER", CANARY), ("EXPECT_TAKEN", "yes")],
    );
}

/// A process of the test below: a library takes what it needs, and then the product what it needs.
#[tokio::test]
async fn a_process_takes_twice() {
    println!("process {}", std::process::id());
    Env::take(&["test-taken"]).expect("taken");
    Env::take(&["test-other"]).expect("taken");
    assert!(environments().iter().all(|environment| !contains(environment)));
    let is_set = Config::from_env().expect("configured").other.get("EXPECT_TAKEN").is_some();
    for name in ["test-taken", "test-other"] {
        assert_eq!(read(&[], name).await.as_deref(), is_set.then_some(CANARY), "{name}");
    }
}

#[test]
fn what_was_taken_first_is_not_lost_by_taking_more() {
    run("a_process_takes_twice", &[("TEST_TAKEN", CANARY), ("TEST_OTHER", CANARY), ("EXPECT_TAKEN", "yes")]);
}

/// A process of the test below: it names none of the variables.
#[tokio::test]
async fn a_process_logs_in() {
    Env::take(&["test-taken"]).expect("taken");
    println!("process {}", std::process::id());
    assert!(environments().iter().all(|environment| !contains(environment)));
    let config = Config::from_env().expect("configured");
    let Some(expected) = config.other.get("EXPECT_TOKEN") else { return };
    let server = Server::start(|request| match request.line.ends_with("lookup-self") {
        true => Answer::ok(r#"{"data":{"ttl":0,"renewable":false}}"#),
        false => Answer::ok(r#"{"data":{"data":{"value":"x"},"metadata":{"version":1,"created_time":""}}}"#),
    })
    .await;
    let url = format!("openbao+http://127.0.0.1:{}/secret?auth=token", server.port).parse().expect("a URL");
    let auth = Auth::from_url(&url, &config.other).expect("the token is found");
    let openbao = OpenBao::from_url(&url, auth).expect("made");
    openbao.read(Ask::current(&Name::new("x").expect("a name"))).await.expect("read");
    let tokens = server.asked().iter().map(|request| request.token().to_owned()).collect::<Vec<_>>();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| *token == format!("{CANARY}-{expected}")), "{tokens:?}");
}

#[test]
fn the_token_for_openbao_is_taken_along_and_still_logs_in() {
    let (bao, vault) = (format!("{CANARY}-bao"), format!("{CANARY}-vault"));
    for (variables, expected) in [
        (&[("BAO_TOKEN", bao.as_str()), ("VAULT_TOKEN", vault.as_str())][..], "bao"),
        (&[("VAULT_TOKEN", vault.as_str())], "vault"),
    ] {
        run("a_process_logs_in", &[variables, &[("EXPECT_TOKEN", expected)]].concat());
    }
}

/// A process of the test below: what it took is no text.
#[test]
fn a_process_cannot_log_in() {
    Env::take(&[]).expect("taken");
    println!("process {}", std::process::id());
    let config = Config::from_env().expect("configured");
    if config.other.get("EXPECT_REFUSAL").is_none() {
        return;
    }
    let url = "openbao://bao/secret?auth=token".parse().expect("a URL");
    let error = Auth::from_url(&url, &config.other).expect_err("no token");
    assert!(error.is_malformed() && error.to_string().contains("the token is not text"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    println!("refused");
}

#[test]
fn a_token_for_openbao_that_is_no_text_is_told_from_none_and_no_other_is_taken_for_it() {
    let token = OsStr::from_bytes(b"hunter2\xff");
    let (another, yes) = (OsStr::new("another"), OsStr::new("yes"));
    let variables = [("BAO_TOKEN", token), ("VAULT_TOKEN", another), ("EXPECT_REFUSAL", yes)];
    let output = run("a_process_cannot_log_in", &variables);
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused"));
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    assert_eq!(Env::take(&["A=B"]).expect_err("no name").kind(), ErrorKind::InvalidName);
}

/// Keeps the warnings that it is told.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target() == "halfbyte::secrets"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, _field: &Field, value: &dyn fmt::Debug) {
                self.0 += &format!("{value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

fn open_in(environment: &str) -> Secrets {
    let production = [
        ("HALFBYTE_ENV", environment),
        ("HALFBYTE_SECRETS_URL", "env:"),
        ("HALFBYTE_IDENTITY_URL", "https://id.example.com"),
        ("HALFBYTE_BILLING_URL", "sqlite:///tmp/billing"),
        ("HALFBYTE_PUBLIC_URL", "https://parcel.example.com"),
        ("TEST_LEFT", CANARY),
    ];
    Secrets::open(&Config::parse(production).expect("configured"), &lifecycle()).expect("opened")
}

/// A process of the test below, where nothing was taken before.
#[tokio::test]
async fn a_process_warns() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    if !Env::is_taken() {
        open_in("production");
        assert!(warnings.taken().concat().contains("call Env::take first in main"));
        open_in("development");
        assert_eq!(warnings.taken(), Vec::<String>::new());
        Env::take(&["test-taken"]).expect("taken");
    }
    let secrets = open_in("production");
    assert_eq!(warnings.taken(), Vec::<String>::new());
    secrets.get::<String>("test-left").ready().await.expect("read");
    let said = warnings.taken().concat();
    assert!(said.contains("test-left was left in the environment") && !said.contains(CANARY), "{said}");
}

#[test]
fn production_is_warned_of_secrets_in_its_environment() {
    run("a_process_warns", &[("EXPECT", "warnings")]);
}
