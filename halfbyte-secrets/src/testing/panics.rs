//! Looks at the message of each panic while a test runs, on whatever thread: whose it is, its canary says.

use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::thread;

use super::findings::look_for_all;

/// Hears of all panics from now on.
pub(super) fn watch() {
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
}

fn is_leak(info: &PanicHookInfo<'_>) -> bool {
    let Some(message) = info.payload_as_str() else { return false };
    look_for_all(message.as_bytes(), || {
        let at = info.location().map(|at| format!(" at {at}")).unwrap_or_default();
        format!("a panic{at} on thread {}", thread::current().name().unwrap_or("<unnamed>"))
    })
}
