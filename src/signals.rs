//! SIGTERM and SIGINT: before there is something to drain, while there is, and after.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register_conditional_default, register_conditional_shutdown};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, ErrorKind};

/// The signals that come, by name.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    _serving: Serving,
}

impl Signals {
    /// From now on signals do not end the process; once the last of these is dropped, they do again.
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(failed);
        // Before they no longer end the process: one that comes in between is not lost.
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, _serving: Serving::begin().map_err(failed)? })
    }
}

/// Sees to it that signals end the process at once, unless somebody [listens](Signals::listen): also the first process of a
/// container, which the kernel does not end by a signal that it has no handler for.
pub(crate) fn end_the_process() -> Result<(), Error> {
    let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    default.applies().map(drop).map_err(failed)
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "signals cannot be listened for").caused_by(error)
}

impl Stream for Signals {
    type Item = &'static str;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<&'static str>> {
        if self.terminate.poll_recv(cx).is_ready() {
            return Poll::Ready(Some("SIGTERM"));
        }
        self.interrupt.poll_recv(cx).map(|_| Some("SIGINT"))
    }
}

/// Who drains when a signal comes: while nobody does, signals end the process as they do by default. Tokio never gives a
/// signal back, so that a process which has drained and then hangs would not be ended by any.
struct Serving;

struct Default {
    /// Read by the handler, which the kernel calls.
    applies: Option<Arc<AtomicBool>>,
    serving: usize,
}

static DEFAULT: Mutex<Default> = Mutex::new(Default { applies: None, serving: 0 });

impl Default {
    fn applies(&mut self) -> std::io::Result<Arc<AtomicBool>> {
        if let Some(applies) = &self.applies {
            return Ok(applies.clone());
        }
        let applies = Arc::new(AtomicBool::new(true));
        for signal in [SIGTERM, SIGINT] {
            match exit_code(std::process::id(), signal) {
                Some(code) => register_conditional_shutdown(signal, code, applies.clone())?,
                None => register_conditional_default(signal, applies.clone())?,
            };
        }
        Ok(self.applies.insert(applies).clone())
    }
}

/// What a process of this id ends with by a signal; none if the kernel ends it.
fn exit_code(process: u32, signal: i32) -> Option<i32> {
    // As a shell tells it of others.
    (process == 1).then_some(128 + signal)
}

impl Serving {
    fn begin() -> std::io::Result<Self> {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        default.applies()?.store(false, Ordering::SeqCst);
        default.serving += 1;
        Ok(Self)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        default.serving = default.serving.saturating_sub(1);
        if let (0, Some(applies)) = (default.serving, &default.applies) {
            applies.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_ends_with_128_and_the_signal_and_any_other_as_the_kernel_has_it() {
        assert_eq!([exit_code(1, SIGTERM), exit_code(1, SIGINT)], [Some(143), Some(130)]);
        assert_eq!([exit_code(2, SIGTERM), exit_code(4711, SIGINT)], [None, None]);
    }
}
