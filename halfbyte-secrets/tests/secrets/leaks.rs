//! Code that leaks, on purpose: each way is found, named, and not repeated.

use std::future::Future;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_secrets::testing::{LeakTest, Leaks, Outcome, assert_no_leak};
use halfbyte_secrets::{Error, ExposeSecret as _, Json, Secret, SecretUrl, Secrets};

async fn token(secrets: &Secrets) -> Secret<String> {
    let token = secrets.get::<String>("token");
    token.ready().await.expect("loaded");
    token
}

fn value(token: &Secret<String>) -> String {
    token.load().expect("loaded").expose_secret().clone()
}

/// What is found, but for copies in memory, which are not what is tested here.
fn leaks_of<R: Future<Output: Outcome>>(code: impl FnOnce(Secrets) -> R + Send) -> Vec<String> {
    let leaks = LeakTest::new().without_memory().run(code);
    assert!(leaks.found().iter().all(|leak| leak.secret == "token"), "{leaks}");
    leaks.found().iter().map(|leak| leak.place.clone()).collect()
}

fn one<R: Future<Output: Outcome>>(code: impl FnOnce(Secrets) -> R + Send) -> String {
    let places = leaks_of(code);
    assert_eq!(places.len(), 1, "{places:#?}");
    places.into_iter().next().unwrap_or_default()
}

#[test]
fn code_that_uses_secrets_and_leaks_none_passes() {
    let test = LeakTest::new().shape("url", "postgres://app:{}@db.example/x").shape("json", r#"{"key":["{}"]}"#);
    assert_no_leak!(test, |secrets: Secrets| async move {
        let (token, url) = (token(&secrets).await, secrets.get::<SecretUrl>("url"));
        url.ready().await?;
        assert_eq!(url.load()?.expose_secret().as_url().password().map(str::len), Some(40));
        let bytes = secrets.get::<Vec<u8>>("bytes");
        bytes.ready().await?;
        let span = tracing::info_span!("use", ?token, %url);
        span.in_scope(|| tracing::info!(?bytes, "used {token}"));
        assert_eq!(token.load()?.expose_secret().len(), bytes.load()?.expose_secret().len());
        Err::<(), _>(secrets.get::<Json<Vec<String>>>("json").ready().await.expect_err("another shape"))
    });
}

#[tokio::test]
async fn a_test_that_has_a_runtime_may_ask_as_well() {
    assert_no_leak!(|secrets: Secrets| async move {
        let _token = token(&secrets).await;
    });
}

#[test]
fn a_secret_in_a_message_a_field_or_an_attribute_of_a_span_is_found() {
    let place = one(|secrets| async move { tracing::trace!("it is {}", value(&token(&secrets).await)) });
    assert!(place.contains("`message` of the TRACE event at halfbyte-secrets/tests/secrets/leaks.rs:"), "{place}");
    let place = one(|secrets| async move { tracing::info!(list = ?[value(&token(&secrets).await)], "used") });
    assert!(place.contains("field `list` of the INFO event") && place.ends_with("(target secrets::leaks)"), "{place}");
    let place = one(|secrets| async move {
        let token = token(&secrets).await;
        drop(tracing::debug_span!("use", text = value(&token)));
    });
    assert!(place.contains("field `text` of the DEBUG span use at"), "{place}");
    let place = one(|secrets| async move {
        let span = tracing::info_span!("use", later = tracing::field::Empty);
        span.record("later", value(&token(&secrets).await).as_str());
    });
    assert!(place.contains("field `later` of the INFO span use at"), "{place}");
    let place = one(|secrets| async move {
        let error = Failed("outer".into(), Some(Box::new(Failed(value(&token(&secrets).await), None))));
        tracing::warn!(error = &error as &dyn std::error::Error, "failed");
    });
    assert!(place.contains("field `error` of the WARN event"), "{place}");
}

#[test]
fn a_secret_in_another_encoding_is_found() {
    let place = one(|secrets| async move {
        let hex: String = value(&token(&secrets).await).bytes().map(|byte| format!("{byte:02x}")).collect();
        tracing::info!("{hex}");
    });
    assert!(place.contains("`message`"), "{place}");
}

#[test]
fn what_tasks_and_blocking_threads_log_is_found() {
    let places = leaks_of(|secrets| async move {
        let token = value(&token(&secrets).await);
        let copy = token.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { tracing::info!(task = token) });
        tasks.spawn_blocking(move || tracing::info!(thread = copy));
        tasks.join_all().await;
    });
    assert_eq!(places.len(), 2, "{places:#?}");
}

#[test]
fn what_a_blocking_thread_logs_after_the_code_is_done_is_found() {
    let place = one(|secrets| async move {
        let token = value(&token(&secrets).await);
        tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(100));
            tracing::info!(late = token);
        });
    });
    assert!(place.contains("field `late` of the INFO event"), "{place}");
}

struct Failed(String, Option<Box<Failed>>);

/// Not of its source, which is to be looked at by itself.
impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Failed({:?})", self.0)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn a_secret_in_an_error_is_found_in_its_message_its_debug_and_its_sources() {
    let places = leaks_of(|secrets| async move { Err::<(), _>(format!("refused: {}", value(&token(&secrets).await))) });
    assert_eq!(places, ["the error: its message", "the error: its Debug"]);
    let places = leaks_of(|secrets| async move {
        let inner = Failed(value(&token(&secrets).await), None);
        Err::<(), _>(Failed("outer".into(), Some(Box::new(inner))))
    });
    assert_eq!(places, ["the error: the Debug of source 1"]);
}

#[test]
fn a_secret_in_what_the_code_answers_is_found() {
    let place = one(|secrets| async move { Ok::<_, Error>(vec![value(&token(&secrets).await)]) });
    assert_eq!(place, "what the code answered: its Debug");
    assert_no_leak!(LeakTest::new().without_memory(), |secrets: Secrets| async move {
        Ok::<_, Error>(vec![token(&secrets).await])
    });
}

#[test]
fn a_secret_in_a_panic_is_found_on_whatever_thread() {
    let place = one(|secrets| async move {
        let token = value(&token(&secrets).await);
        let thread = std::thread::Builder::new().name("worker".into());
        thread.spawn(move || panic!("no {token}")).expect("started").join().expect_err("it panicked");
    });
    assert!(place.starts_with("a panic at halfbyte-secrets/tests/secrets/leaks.rs:"), "{place}");
    assert!(place.ends_with(" on thread worker"), "{place}");
    let place = one(|secrets| async move {
        let token = value(&token(&secrets).await);
        panic!("no {token}");
        #[expect(unreachable_code, reason = "a future has an output")]
        ()
    });
    assert!(place.starts_with("a panic at "), "{place}");
}

/// The role of a process of its own, since what a hook prints is not the test's to see: does nothing unless it was started
/// with it.
#[test]
fn the_process_that_panics_with_a_secret() {
    let config = Config::from_env().expect("configured");
    let Some(_role) = config.other.get("PANIC_WITH_A_SECRET") else { return };
    let places = leaks_of(|secrets| async move {
        let token = value(&token(&secrets).await);
        println!("{token}");
        std::thread::spawn(|| panic!("a panic like others")).join().expect_err("it panicked");
        panic!("no {token}");
        #[expect(unreachable_code, reason = "a future has an output")]
        ()
    });
    assert_eq!(places.len(), 1, "{places:#?}");
}

#[test]
fn the_message_of_a_panic_with_a_secret_is_not_printed() {
    let mut process = Command::new(std::env::current_exe().expect("this one"));
    process.args(["--exact", "leaks::the_process_that_panics_with_a_secret", "--nocapture", "--test-threads", "1"]);
    let output = process.env_clear().env("PANIC_WITH_A_SECRET", "1").output().expect("it ran");
    let (said, printed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let token = said.split_whitespace().find(|word| word.len() == 40).expect("it told its secret");
    assert!(output.status.success() && !printed.contains(token), "{printed}");
    assert!(printed.contains("a panic like others") && printed.contains("a panic with a secret"), "{printed}");
}

#[test]
#[should_panic(expected = "the code is wrong")]
fn a_panic_without_a_secret_goes_on() {
    assert_no_leak!(|secrets: Secrets| async move {
        let _token = token(&secrets).await;
        assert!(secrets.declared().is_empty(), "the code is wrong");
    });
}

/// Long enough to be looked at.
async fn run(command: &mut Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    tokio::time::sleep(Duration::from_millis(200)).await;
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// The kernel gives a process its new arguments a moment before its new name, so that it may be told by its old one as well.
fn last<R: Future<Output: Outcome>>(code: impl FnOnce(Secrets) -> R + Send) -> String {
    leaks_of(code).pop().unwrap_or_default()
}

#[test]
fn a_secret_in_the_arguments_or_the_environment_of_a_child_is_found() {
    let place = last(|secrets| async move {
        let token = value(&token(&secrets).await);
        run(Command::new("sleep").arg("1").env("TOKEN", token)).await;
    });
    assert_eq!(place, "the environment of the child process sleep");
    let place = last(|secrets| async move {
        let token = value(&token(&secrets).await);
        run(Command::new("sh").args(["-c", "sleep 1; :", "sh", &token])).await;
    });
    assert_eq!(place, "the arguments of the child process sh");
    let place = last(|secrets| async move {
        let token = value(&token(&secrets).await);
        // Its own arguments have the name of the file alone.
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        std::fs::write(&script, format!("sh -c 'sleep 1; :' sh {token}\n:\n")).expect("written");
        run(Command::new("sh").arg(script)).await;
    });
    assert_eq!(place, "the arguments of the child process sh");
}

fn memory_of(leaks: &Leaks) -> bool {
    leaks.found().iter().any(|leak| leak.secret == "token" && leak.place.starts_with("memory: "))
}

#[test]
fn a_copy_that_is_not_wiped_is_found_in_memory() {
    static KEPT: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);
    let leaks = LeakTest::new().run(|secrets| async move {
        let token = token(&secrets).await;
        KEPT.lock().expect("not poisoned").push(value(&token));
    });
    assert!(memory_of(&leaks) && leaks.found().len() == 1, "{leaks}");
    let leaks = LeakTest::new().run(|secrets| async move {
        let token = value(&token(&secrets).await);
        let encoded: String = token.bytes().map(|byte| format!("{byte:02X}")).collect();
        KEPT.lock().expect("not poisoned").push(encoded);
    });
    assert!(memory_of(&leaks), "{leaks}");
}

#[test]
fn a_report_says_what_and_where_and_shows_no_value() {
    static SEEN: Mutex<String> = Mutex::new(String::new());
    let leaks = LeakTest::new().run(|secrets| async move {
        let token = value(&token(&secrets).await);
        tracing::info!(token);
        SEEN.lock().expect("not poisoned").clone_from(&token);
        Err::<(), _>(token)
    });
    let (said, shown) = (leaks.to_string(), format!("{leaks:#?}"));
    let seen = SEEN.lock().expect("not poisoned");
    assert!(seen.len() == 40 && !said.contains(&*seen) && !shown.contains(&*seen), "{said} {shown}");
    assert!(said.starts_with("secrets were found where none belongs:\n  token in the log: field `token`"), "{said}");
    assert!(!leaks.is_empty() && leaks.not_looked_at().is_empty(), "{said}");
}

#[test]
fn a_report_names_the_secret_that_leaked() {
    let leaks = LeakTest::new().without_memory().shape("second", "<{}>").run(|secrets| async move {
        let _first = token(&secrets).await;
        let second = secrets.get::<String>("second");
        second.ready().await.expect("loaded");
        let second = value(&second);
        assert!(second.starts_with('<') && second.ends_with('>') && second.len() == 42);
        tracing::info!("{second}");
    });
    assert!(leaks.found().len() == 1 && leaks.found()[0].secret == "second", "{leaks}");
}

#[test]
fn canaries_differ_by_name_and_by_run() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    for _ in 0..2 {
        let leaks = LeakTest::new().without_memory().run(|secrets| async move {
            let mut seen = Vec::new();
            for name in ["a", "b"] {
                let secret = secrets.get::<String>(name);
                secret.ready().await?;
                seen.push(secret.load()?.expose_secret().clone());
            }
            SEEN.lock().expect("not poisoned").extend(seen);
            Ok::<_, Error>(())
        });
        assert!(leaks.is_empty(), "{leaks}");
    }
    let mut seen = SEEN.lock().expect("not poisoned").clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
