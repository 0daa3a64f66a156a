//! What the process says of a panic: what the standard library would, without [live secrets](crate::fingerprint).
//!
//! The standard library prints the message of a panic before anybody can look at it. [`install`] takes the place of that,
//! and of whatever hook was there, since that may print it too. A hook of the product's own is set after it, and looks
//! at the message through [`message`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::{Once, OnceLock};
use std::thread;

use crate::fingerprint;

/// Stands for the message where there is none.
pub const NO_TEXT: &str = "(a value that is no text)";

static REPORTER: OnceLock<Box<dyn Reporter>> = OnceLock::new();

/// Says more of panics than the lines on standard error, and elsewhere.
pub trait Reporter: Send + Sync + 'static {
    /// `message` as it may be printed. Live secrets are masked already.
    fn clean<'a>(&self, message: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(message)
    }

    /// Called on the thread that panics. Answers whether people see the message by that: if not, it is printed on standard
    /// error.
    fn report(&self, info: &PanicHookInfo<'_>) -> bool;
}

/// Puts the hook in place; once, however often it is called, and not on a thread that panics, where that is not allowed.
///
/// A panic is then printed on standard error as the standard library does: thread, place, message, and the backtrace if
/// `RUST_BACKTRACE` asks for one; the message without live secrets. What cannot be written is lost.
///
/// ```
/// let token = halfbyte_core::fingerprint::register(b"correct horse");
/// halfbyte_core::panic_hook::install();
/// // thread 'main' panicked at src/main.rs:3:24:
/// // refused: [REDACTED]
/// std::thread::spawn(|| panic!("refused: correct horse")).join().unwrap_err();
/// ```
pub fn install() {
    static ONCE: Once = Once::new();
    if !thread::panicking() {
        ONCE.call_once(|| panic::set_hook(Box::new(hook)));
    }
}

/// Has `reporter` hear of each panic. The first one stays.
pub fn report_to(reporter: impl Reporter) {
    let _first_stays = REPORTER.set(Box::new(reporter));
}

/// The message of a panic without live secrets.
pub fn message<'a>(info: &'a PanicHookInfo<'_>) -> Cow<'a, str> {
    fingerprint::mask(info.payload_as_str().unwrap_or(NO_TEXT))
}

fn hook(info: &PanicHookInfo<'_>) {
    let reporter = REPORTER.get();
    if reporter.is_some_and(|reporter| reporter.report(info)) {
        return;
    }
    let message = message(info);
    let message = reporter.map_or(Cow::Borrowed(&*message), |reporter| reporter.clean(&message));
    let _lost = std::io::stderr().lock().write_all(said(info, &message).as_bytes());
}

fn said(info: &PanicHookInfo<'_>, message: &str) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let mut said = format!("\nthread '{name}' panicked");
    if let Some(at) = info.location() {
        let _infallible = write!(said, " at {at}");
    }
    let _infallible = writeln!(said, ":\n{message}");
    let backtrace = Backtrace::capture();
    let _infallible = match backtrace.status() {
        BacktraceStatus::Captured => writeln!(said, "stack backtrace:\n{backtrace}"),
        _ => writeln!(said, "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"),
    };
    said
}
