//! SIGTERM and SIGINT, while there is something to drain and after.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
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
        let failed = |error| Error::new(ErrorKind::Unavailable, "signals cannot be listened for").caused_by(error);
        let listen = |kind| signal(kind).map_err(failed);
        let serving = Serving::begin().map_err(failed)?;
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, _serving: serving })
    }
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

impl Serving {
    fn begin() -> std::io::Result<Self> {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        let applies = match default.applies.clone() {
            Some(applies) => applies,
            None => {
                let applies = Arc::new(AtomicBool::new(false));
                for signal in [SIGTERM, SIGINT] {
                    register_conditional_default(signal, applies.clone())?;
                }
                default.applies.insert(applies).clone()
            }
        };
        default.serving += 1;
        applies.store(false, Ordering::SeqCst);
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
