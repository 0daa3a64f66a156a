//! The collector of this process. Telemetry is set up once in a process, so there is one collector as well, on a thread of its own:
//! tests come and go with their runtimes, and products are started many times.

use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use halfbyte_observe::Telemetry;
use halfbyte_observe::testing::{Received, Receiver, Span};
use tokio::time::{Instant, sleep};

use super::client::PATIENCE;
use crate::platform::Platform;

static RECEIVER: OnceLock<Result<Receiver, String>> = OnceLock::new();
static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();

/// A run that looks at telemetry writes, and is alone, since all share what arrives; the others read.
pub(super) static RUNNING: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// Whether the log is to be on the console as well: where somebody asks for it.
pub(crate) fn shows_the_log() -> bool {
    RECEIVER.get().is_none() || log_filter().is_some()
}

/// What the environment says of the log.
#[expect(
    clippy::disallowed_methods,
    reason = "the product gets a configuration that the suite makes, with this of the environment"
)]
pub(super) fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// The collector of this process.
pub(super) fn receiver() -> Result<&'static Receiver, String> {
    RECEIVER.get_or_init(start).as_ref().map_err(Clone::clone)
}

fn start() -> Result<Receiver, String> {
    let (started, receiver) = mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                // Nobody waits any more only if the thread of the other end has died.
                _ = started.send(Receiver::start().await);
                std::future::pending::<()>().await;
            }),
            Err(error) => _ = started.send(Err(error)),
        }
    };
    let thread = std::thread::Builder::new().name("conformance-collector".to_owned()).spawn(serve);
    let started =
        thread.map_err(|error| error.to_string()).and_then(|_| receiver.recv().map_err(|error| error.to_string()));
    started
        .and_then(|receiver| receiver.map_err(|error| error.to_string()))
        .map_err(|error| format!("no collector: {error}"))
}

/// Takes over the telemetry that `platform` has set up, if it was the first in this process: it is to outlive that product.
pub(super) fn keep_telemetry_of(platform: &Platform) {
    if let Some(telemetry) = platform.take_held().and_then(|held| held.telemetry) {
        // Whoever comes second has none.
        _ = TELEMETRY.set(telemetry);
    }
}

/// Has everything sent that was made so far.
async fn flush() -> Result<(), String> {
    let telemetry = TELEMETRY.get().ok_or_else(|| {
        "telemetry was set up in this process before the suite ran: give the suite a test program of its own".to_owned()
    })?;
    let flushed = telemetry.flush(PATIENCE).await;
    if flushed.is_complete() { Ok(()) } else { Err(format!("telemetry does not arrive: {flushed}")) }
}

/// Forgets what arrived so far.
pub(super) async fn clear() {
    // Where telemetry is another's there is nothing to forget.
    _ = flush().await;
    if let Ok(receiver) = receiver() {
        receiver.clear();
    }
}

/// All that has arrived in this run, once everything that was made has.
pub(super) async fn received() -> Result<Received, String> {
    flush().await?;
    Ok(receiver()?.received())
}

/// The spans of servers in which the requests with these ids were handled, once each has one: found by their lines of the log, which
/// name both.
pub(super) async fn spans_of(ids: &[String]) -> Result<Vec<Vec<Span>>, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        flush().await?;
        let mut found = Vec::new();
        let look = |received: &Received| {
            found = ids.iter().map(|id| spans_in(received, id)).collect();
            true
        };
        // What is there is looked at where it is: there is much of it.
        _ = receiver()?.wait_for(look, PATIENCE).await;
        let Some(missing) = found.iter().position(Vec::is_empty) else { return Ok(found) };
        if Instant::now() > deadline {
            let id = &ids[missing];
            return Err(format!("the request {id} left no span of a server with a line in the log"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn spans_in(received: &Received, id: &str) -> Vec<Span> {
    // It is among the last.
    let line = received.logs.iter().rfind(|log| log.attributes.get("request_id").is_some_and(|value| *value == *id));
    let Some(trace) = line.and_then(|line| line.trace_id.as_ref()) else { return Vec::new() };
    received.spans.iter().filter(|span| span.trace_id == *trace && span.kind == "server").cloned().collect()
}
