//! Panics become one event each, inside the trace of the request that panicked.
//!
//! ```
//! use halfbyte_observe::{panics, testing::capture};
//!
//! let capture = capture();
//! let _entered = capture.enter();
//! tracing::info_span!("print").in_scope(|| {
//!     // Whoever catches a panic says so, whether or not there is an `init` that has heard of it.
//!     let caught = std::panic::catch_unwind(|| panic!("no paper"));
//!     panics::caught(&*caught.unwrap_err());
//! });
//! assert_eq!(capture.spans().only().event("exception").unwrap().attributes["exception.message"], "no paper");
//! assert_eq!(capture.logs().only().event_name, "exception");
//! ```
//!
//! [`init`](crate::init) installs a panic hook in place of the one that was there before, which may print what must not
//! be seen. It hears of every panic where it happens, on whatever thread, and
//!
//! - adds an event `exception` to the span that is current, with `exception.type` (`panic`), `exception.message` and
//!   `exception.stacktrace`, as the semantic conventions for exceptions on spans say;
//! - logs one ERROR of the target `halfbyte::panic`, a log record named `exception`, with the same attributes and with
//!   `code.file.path`, `code.line.number` and `thread.name`; or prints it on standard error, if no such line is logged.
//!
//! [Live secrets](halfbyte_core::fingerprint) are masked everywhere, and what the rules of [`Redaction`]
//! find. A hook of the product's own is set after `init`, and calls the one that it takes.
//!
//! Message and backtrace are cut at 4 and 16 KiB. A panic with a value that is no text says so in place of a message.
//!
//! # What it does not do
//!
//! - A panic of a panic hook ends the process, as always; nothing that the product wrote runs in this one, but for its
//!   own layers of `tracing` and its own processors.
//! - A panic that is [resumed](std::panic::resume_unwind) calls no hook. Where it was first raised it was reported, on
//!   whatever thread; who catches it within a minute reports it no second time. What tells panics apart is their message.
//! - A process that aborts on panics writes the line of its log, and sends nothing any more.

use std::any::Any;
use std::backtrace::Backtrace;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use halfbyte_core::fingerprint::mask;
use halfbyte_core::panic_hook::{self, NO_TEXT, Reporter};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, KeyValue};

use crate::Redaction;

/// In bytes.
const MESSAGE: usize = 4 << 10;
const STACKTRACE: usize = 16 << 10;

/// How many panics that the hook has reported are remembered until somebody catches them, and how long.
const REMEMBERED: usize = 256;
const CAUGHT_WITHIN: Duration = Duration::from_secs(60);

/// Of the whole process: a panic can be caught on one thread and resumed on another. Nothing panics while this is locked.
static REPORTED: Mutex<Reported> = Mutex::new(Reported(VecDeque::new()));

/// Reports a panic that was caught on this thread, unless the hook of [`init`](crate::init) has done so, here or on
/// the thread that it came from: one event in either case. Call it where the span of the request is current.
///
/// The message is all that is known of it here: where it happened, only the hook knows.
pub fn caught(payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message(text);
    if !reported().take(&message, Instant::now()) {
        Report { message, location: None, stacktrace: None }.emit();
    }
}

/// Puts the hook in place; once, however often it is called.
pub(crate) fn install(redaction: Redaction) {
    panic_hook::report_to(Hook(redaction));
    panic_hook::install();
}

struct Hook(Redaction);

impl Reporter for Hook {
    fn clean<'a>(&self, message: &'a str) -> Cow<'a, str> {
        self.0.text(message)
    }

    fn report(&self, info: &PanicHookInfo<'_>) -> bool {
        report(info);
        tracing::enabled!(target: "halfbyte::panic", tracing::Level::ERROR)
    }
}

fn report(info: &PanicHookInfo<'_>) {
    let mut stacktrace = Bounded { text: String::new(), most: STACKTRACE };
    let _cut = write!(stacktrace, "{}", Backtrace::force_capture());
    let location = info.location().map(|at| (at.file(), at.line()));
    let message = message(info.payload_as_str());
    reported().remember(&message, Instant::now());
    Report { message, location, stacktrace: Some(stacktrace.text) }.emit();
}

/// The message as it may be told: without live secrets, of which none is cut, and bounded.
fn message(text: Option<&str>) -> Cow<'_, str> {
    let text = mask(text.unwrap_or(NO_TEXT));
    let kept = &text[..text.floor_char_boundary(MESSAGE)];
    if kept.len() < text.len() { format!("{kept}…").into() } else { text }
}

struct Report<'a> {
    message: Cow<'a, str>,
    /// The file and the line.
    location: Option<(&'a str, u32)>,
    stacktrace: Option<String>,
}

impl Report<'_> {
    fn emit(self) {
        let Self { message, location, stacktrace } = self;
        let context = Context::current();
        if context.has_active_span() {
            let mut attributes = vec![
                KeyValue::new("exception.type", "panic"),
                KeyValue::new("exception.message", message.clone().into_owned()),
            ];
            attributes.extend(stacktrace.clone().map(|trace| KeyValue::new("exception.stacktrace", trace)));
            context.span().add_event("exception", attributes);
        }
        let current = thread::current();
        let (file, line) = location.unzip();
        let at = fmt::from_fn(|f| match location {
            Some((file, line)) => write!(f, " at {file}:{line}"),
            None => Ok(()),
        });
        // Of no `tracing` span: that one would get the event a second time.
        tracing::error!(
            name: "exception",
            target: "halfbyte::panic",
            parent: None,
            {
                exception.r#type = "panic",
                exception.message = &*message,
                exception.stacktrace = stacktrace.as_deref(),
                code.file.path = file,
                code.line.number = line,
                thread.name = current.name(),
            },
            "panicked{at}: {message}",
        );
    }
}

fn reported() -> MutexGuard<'static, Reported> {
    REPORTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hashes of the messages of the last panics that the hook has reported, and when. More than one of a thread: what unwinds
/// may panic and catch that.
struct Reported(VecDeque<(u64, Instant)>);

impl Reported {
    fn remember(&mut self, message: &str, now: Instant) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((fingerprint(message), now));
    }

    /// Whether the hook has reported it; asked once for each.
    fn take(&mut self, message: &str, now: Instant) -> bool {
        // Nobody has caught these: they are not to hide a later one.
        self.0.retain(|(_, at)| now.saturating_duration_since(*at) <= CAUGHT_WITHIN);
        let fingerprint = fingerprint(message);
        let found = self.0.iter().position(|(other, _)| *other == fingerprint);
        found.and_then(|at| self.0.remove(at)).is_some()
    }
}

fn fingerprint(message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    hasher.finish()
}

/// Takes so much, and an error is the end of it.
struct Bounded {
    text: String,
    most: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.most.saturating_sub(self.text.len());
        let fits = text.floor_char_boundary(room);
        self.text.push_str(&text[..fits]);
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_one_that_is_no_text_is_named_so() {
        assert_eq!(message(None), NO_TEXT);
        assert_eq!(message(Some("x")), "x");
        assert_eq!(message(Some(&"é".repeat(MESSAGE))), format!("{}…", "é".repeat(MESSAGE / 2)));
        let mut bounded = Bounded { text: String::new(), most: 4 };
        assert!(bounded.write_str("aé").is_ok() && bounded.write_str("éé").is_err());
        assert_eq!(bounded.text, "aé");
    }

    #[test]
    fn what_was_reported_is_known_once_also_after_another() {
        let (mut reported, now) = (Reported(VecDeque::new()), Instant::now());
        for message in ["first", "second", "third", "third"] {
            reported.remember(message, now);
        }
        let known = ["first", "first", "third", "second", "third", "third", "never"];
        let known = known.map(|message| reported.take(message, now + CAUGHT_WITHIN));
        assert_eq!(known, [true, false, true, true, true, false, false]);
    }

    #[test]
    fn what_nobody_has_caught_is_forgotten_in_time_and_never_too_much() {
        let (mut reported, now) = (Reported(VecDeque::new()), Instant::now());
        reported.remember("early", now);
        let later = now + CAUGHT_WITHIN + Duration::from_nanos(1);
        reported.remember("late", later);
        assert!(!reported.take("early", later) && reported.take("late", later));
        (0..=REMEMBERED).for_each(|n| reported.remember(&n.to_string(), later));
        assert_eq!(reported.0.len(), REMEMBERED);
        assert!(!reported.take("0", later) && reported.take("1", later));
    }

    #[test]
    fn a_panic_that_another_thread_has_reported_is_known_here() {
        let message = "reported over there";
        thread::spawn(move || reported().remember(message, Instant::now())).join().expect("remembered");
        assert!(reported().take(message, Instant::now()));
    }
}
