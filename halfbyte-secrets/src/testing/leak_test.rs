use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use halfbyte_core::{Clock, Lifecycle};
use secrecy::zeroize::Zeroizing;
use tokio::runtime::{Builder, Runtime};
use tracing::Dispatch;
use tracing::dispatcher::{self, DefaultGuard};

use super::canary::Canaries;
use super::findings::{Findings, Leaks, Running};
use super::watch::Watch;
use super::{memory, panics, processes, spans};
use crate::Secrets;

/// How long tasks and threads may take to end, once the code is done.
const ENDING: Duration = Duration::from_secs(5);

/// Fails if code that uses secrets leaks one: `assert_no_leak!(|secrets| async move { … })`.
///
/// The code gets [`Secrets`](crate::Secrets) in which each name has a canary of 40 random letters and digits, and answers
/// `()` or a `Result`, whose value is looked at as `Debug`, and whose error is looked at and is no failure by itself. A panic
/// without a secret is one, and goes on.
///
/// A [`LeakTest`] before the code says more: `assert_no_leak!(LeakTest::new().shape("db", "postgres://u:{}@db/x"), code)`.
///
/// ```
/// use halfbyte_secrets::testing::{LeakTest, assert_no_leak};
/// use halfbyte_secrets::{Error, ExposeSecret, Json, Secrets};
///
/// let test = LeakTest::new().shape("names", r#"["{}"]"#);
/// assert_no_leak!(test, |secrets: Secrets| async move {
///     let names = secrets.get::<Json<Vec<String>>>("names");
///     names.ready().await?;
///     assert_eq!(names.load()?.expose_secret().0.len(), 1);
///     Ok::<_, Error>(())
/// });
/// ```
///
/// ```should_panic
/// # use halfbyte_secrets::testing::assert_no_leak;
/// # use halfbyte_secrets::{ExposeSecret, Secrets};
/// assert_no_leak!(|secrets: Secrets| async move {
///     let key = secrets.get::<String>("key");
///     key.ready().await.unwrap();
///     // secrets were found where none belongs:
///     //   key in the log: field `key` of the INFO event at src/charge.rs:12 (target charge)
///     tracing::info!(key = key.load().unwrap().expose_secret(), "charging");
/// });
/// ```
#[macro_export]
macro_rules! assert_no_leak {
    ($code:expr $(,)?) => {
        $crate::assert_no_leak!($crate::testing::LeakTest::new(), $code)
    };
    ($test:expr, $code:expr $(,)?) => {{
        let leaks = $crate::testing::LeakTest::run($test, $code);
        assert!(leaks.is_empty(), "{leaks}");
    }};
}

/// How code is looked at while it uses secrets; see [`assert_no_leak!`](crate::assert_no_leak).
///
/// # What is looked at
///
/// - Messages and fields of all events and spans, of all levels, as the code makes them, with errors and their sources. The
///   code runs on a runtime of its own, of one thread and as many as it takes for what blocks, with its own subscriber. A
///   layer that would mask a secret is no excuse.
/// - The message of each panic, on any thread.
/// - What the code answers, as `Debug`; an error with all its sources, and as `Display` too.
/// - Spans that are made by the API of OpenTelemetry, with a tracer that the code gets from `opentelemetry::global`: names,
///   attributes, events, links and the status. The provider that was there is asked as ever.
/// - Environment and arguments of all processes that are started, each millisecond or so, and of this one at the end (Linux).
/// - The memory of this process, once all is dropped: what is private to it and can be written (Linux). The test has no copy
///   of the secret by itself: it knows it by its hash.
///
/// The secret is also found escaped, percent-encoded, in base64 and so on: as the
/// [firewall](halfbyte_core::fingerprint) knows it. The report says where, and never shows a value.
///
/// # What is not seen
///
/// - What is printed, written to files or sent: look at that with [`is_there`](crate::firewall::is_there).
/// - Spans of an OpenTelemetry provider that was not the global one when the first test of the process began, of a tracer that
///   was made before that, and of one that the code makes by itself; attributes of its metrics, and its log records.
/// - Events on threads that the code starts by itself, of other runtimes, under a subscriber that it sets itself, or of
///   the `log` crate, unless something turns those into events.
/// - Panics, once the code has set a panic hook of its own that does not call the one that was there.
/// - A process that ends within less than a millisecond or two.
/// - A copy in memory that was overwritten by chance; one in registers, in shared memory, or in another process. That
///   nothing was found is no proof.
///
/// Libraries may leave copies that a product cannot help, such as buffers of TLS; [`without_memory`](Self::without_memory)
/// leaves that out.
#[derive(Clone, Debug, Default)]
#[must_use = "it looks at nothing until it runs"]
pub struct LeakTest {
    shapes: HashMap<String, String>,
    without_memory: bool,
}

/// What code under a [`LeakTest`] answers: nothing, or a `Result`.
pub trait Outcome {
    /// What there is to look at besides an error.
    fn value(&self) -> Option<&dyn Debug>;

    /// The error, if that is what it is.
    fn into_error(self) -> Option<Box<dyn Error>>;
}

impl Outcome for () {
    fn value(&self) -> Option<&dyn Debug> {
        None
    }

    fn into_error(self) -> Option<Box<dyn Error>> {
        None
    }
}

impl<T: Debug, E: Into<Box<dyn Error>>> Outcome for Result<T, E> {
    fn value(&self) -> Option<&dyn Debug> {
        self.as_ref().ok().map(|value| value as _)
    }

    fn into_error(self) -> Option<Box<dyn Error>> {
        self.err().map(Into::into)
    }
}

impl LeakTest {
    /// Looks at everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The secret `name` is `shape`, with the canary in place of `{}`: for one that is no plain text.
    pub fn shape(mut self, name: &str, shape: &str) -> Self {
        self.shapes.insert(name.to_owned(), shape.to_owned());
        self
    }

    /// Does not look through memory.
    pub fn without_memory(mut self) -> Self {
        self.without_memory = true;
        self
    }

    /// Runs `code`, on a thread of its own, and says where its secrets were found.
    ///
    /// # Panics
    ///
    /// The code does, and no secret was found; or the machine gives no thread.
    pub fn run<F, R>(self, code: F) -> Leaks
    where
        F: FnOnce(Secrets) -> R + Send,
        R: Future<Output: Outcome>,
    {
        let canaries = Canaries::new(self.shapes);
        let findings = Findings::of(canaries.clone());
        let done = AtomicBool::new(false);
        panics::watch();
        spans::watch();
        let running = Running::begin(&findings);
        let panicked = thread::scope(|scope| {
            let watching = scope.spawn(|| processes::watch(&findings, &done));
            let running = scope.spawn(|| run(code, canaries, &findings));
            let outcome = running.join();
            done.store(true, Ordering::Release);
            let _watched = watching.join();
            outcome.err()
        });
        drop(running);
        let mut not_looked_at: Vec<_> = processes::obstacle().into_iter().collect();
        if !self.without_memory
            && let Err(error) = memory::search(&findings)
        {
            not_looked_at.push(format!("memory ({error})"));
        }
        let found = findings.take();
        if let Some(panic) = panicked.filter(|_| found.is_empty()) {
            resume_unwind(panic);
        }
        Leaks { found, not_looked_at }
    }
}

/// Runs `code` and ends all that it began.
fn run<R: Future<Output: Outcome>>(code: impl FnOnce(Secrets) -> R, canaries: Canaries, findings: &Findings) {
    let dispatch = Dispatch::new(Watch::new(findings.clone()));
    let runtime = runtime(&dispatch).expect("a runtime needs threads and a poll, which the machine has");
    let outcome = dispatcher::with_default(&dispatch, || {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let lifecycle = Lifecycle::new(Clock::system());
                let outcome = Box::pin(code(Secrets::new(canaries, &lifecycle))).await;
                if let Some(value) = outcome.value() {
                    let mut text = Zeroizing::new(String::new());
                    let _cut = write!(text, "{value:?} {value:#?}");
                    findings.look(text.as_bytes(), || "what the code answered: its Debug".to_owned());
                }
                if let Some(error) = outcome.into_error() {
                    look_at(&*error, findings);
                }
                lifecycle.stop_tasks(ENDING).await;
            });
        }));
        runtime.shutdown_timeout(ENDING);
        outcome
    });
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

fn runtime(dispatch: &Dispatch) -> std::io::Result<Runtime> {
    thread_local! {
        static GUARD: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
    }
    let dispatch = dispatch.clone();
    Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || GUARD.set(Some(dispatcher::set_default(&dispatch))))
        .on_thread_stop(|| GUARD.set(None))
        .build()
}

fn look_at(error: &(dyn Error + 'static), findings: &Findings) {
    let mut next = Some(error);
    let mut level = 0;
    while let Some(error) = next {
        let place = |how: &str| match level {
            0 => format!("the error: its {how}"),
            _ => format!("the error: the {how} of source {level}"),
        };
        let mut text = Zeroizing::new(String::new());
        let _cut = write!(text, "{error} {error:#}");
        findings.look(text.as_bytes(), || place("message"));
        text.clear();
        let _cut = write!(text, "{error:?} {error:#?}");
        findings.look(text.as_bytes(), || place("Debug"));
        next = error.source();
        level += 1;
    }
}
