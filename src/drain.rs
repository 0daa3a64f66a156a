//! From the signal to the end: lame duck, draining, flushing, closed.

use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Lifecycle, error_chain};
use halfbyte_observe::Telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::contract::Limits;
use crate::error::{Error, ErrorKind};
use crate::platform::Platform;

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::new(ErrorKind::Unavailable, "signals cannot be listened for").caused_by(error))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Leads from the first signal into draining. A second one ends the process at once: usage is in the journal already.
pub(crate) async fn conduct(life: Lifecycle, mut signals: Signals, lame_duck: Duration) {
    let asked = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "told to stop");
            false
        }
        () = life.reached(Phase::LameDuck) => {
            tracing::info!("asked to stop");
            true
        }
    };
    life.enter(Phase::LameDuck);
    let second = async {
        if asked {
            // The program began the drain, so the first signal tells it nothing new.
            signals.next().await;
        }
        let signal = signals.next().await;
        tracing::error!(signal, "told to stop a second time: ending at once");
        std::process::exit(i32::from(Error::new(ErrorKind::Drain, "").exit_code()));
    };
    let first = async {
        tokio::time::sleep(lame_duck).await;
        life.enter(Phase::Draining);
        life.reached(Phase::Closed).await;
    };
    tokio::select! {
        () = first => {}
        () = second => {}
    }
}

/// Writes out what is held in memory: usage first, telemetry about all of it last. Answers whether all was.
pub(crate) async fn flush(platform: &Platform, limits: &Limits, telemetry: Option<Telemetry>) -> bool {
    let life = platform.lifecycle();
    life.enter(Phase::Flushing);
    let usage = platform.billing().flush(limits.drain_usage).await;
    if let Err(error) = &usage {
        tracing::error!(error = error_chain(error), "usage is in the journal and is counted by the next process");
    }
    let tasks = life.stop_tasks(limits.drain_tasks).await;
    if let Some(telemetry) = telemetry {
        let flushed = telemetry.shutdown(limits.drain_telemetry).await;
        if !flushed.is_complete() {
            // What is on disk is sent by the next process.
            tracing::warn!(safe = flushed.is_safe(), "{flushed}");
        }
    }
    life.enter(Phase::Closed);
    // Telemetry does not count: a collector that is away must not make a good stop look like a bad one.
    usage.is_ok() && tasks
}
