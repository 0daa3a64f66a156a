//! Looks at the message of each panic while a test runs, on whatever thread: whose it is, its canary says.

use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use super::findings::Findings;

static RUNNING: Mutex<Vec<(u64, Findings)>> = Mutex::new(Vec::new());

/// A test hears of panics until this is dropped.
pub(super) struct Hearing(u64);

impl Hearing {
    pub(super) fn begin(findings: &Findings) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if is_leak(info) {
                    // The message is not shown, and so not by the hook that was there either.
                    let _lost =
                        writeln!(std::io::stderr(), "a panic with a secret in its message, at {:?}", info.location());
                } else {
                    previous(info);
                }
            }));
        });
        let mut running = running();
        let number = running.last().map_or(0, |(last, _)| last + 1);
        running.push((number, findings.clone()));
        Self(number)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        running().retain(|(number, _)| *number != self.0);
    }
}

fn is_leak(info: &PanicHookInfo<'_>) -> bool {
    let Some(message) = info.payload_as_str() else { return false };
    // Nothing is locked while it is looked at.
    let running: Vec<_> = running().iter().map(|(_, findings)| findings.clone()).collect();
    running.iter().any(|findings| {
        findings.look(message.as_bytes(), || {
            let at = info.location().map(|at| format!(" at {at}")).unwrap_or_default();
            format!("a panic{at} on thread {}", thread::current().name().unwrap_or("<unnamed>"))
        })
    })
}

fn running() -> std::sync::MutexGuard<'static, Vec<(u64, Findings)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
