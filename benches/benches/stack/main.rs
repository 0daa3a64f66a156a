//! A product on the full stack (request id, observe, catch panic, drain gate, load shed, deadline, authenticate, scope, entitle,
//! meter) against the same handler on bare axum, and against the stack that one puts together by hand: tower-http's trace,
//! jwt-authorizer, axum-prometheus and tower_governor.
//!
//! | what | budget |
//! |---|---|
//! | in process, added | 3 µs a request (and 12 allocations: the bench `stack_allocations`) |
//! | over loopback sockets, throughput beside bare axum | 0.85 |
//! | the same beside the stack made by hand | 1.3 |
//! | from the start of the process to ready, embedded | 150 ms |
//!
//! In process it is measured twice: as a laptop runs it, and with every request traced and exported over OTLP (`stack.traced`).
//! Nothing is logged below ERROR, by anybody.

use std::process::Command;

use halfbyte::observe::testing::Receiver;
use halfbyte_benches::count;
use tokio::runtime::Runtime;

mod by_hand;
mod in_process;
mod load;
mod product;
mod servers;
mod sockets;

use product::Failure;

fn main() -> Result<(), Failure> {
    // It starts itself again, as each server, and where telemetry is set up otherwise, which is done once a process.
    let said = |flag: &str| std::env::args().skip_while(|argument| argument != flag).nth(1);
    if let Some(endpoint) = said("--traced") {
        return in_process::measure("stack.traced", Some(&endpoint));
    }
    if let Some(which) = said("--serve") {
        return servers::serve(&which);
    }
    in_process::measure("stack", None)?;
    traced()?;
    sockets::measure()
}

fn traced() -> Result<(), Failure> {
    // The receiver must not take the time of the process that is measured.
    let runtime = Runtime::new()?;
    let receiver = runtime.block_on(Receiver::start())?;
    let endpoint = receiver.endpoint();
    let status = Command::new(std::env::current_exe()?)
        .args(["--traced", &endpoint])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .status()?;
    count("stack.traced.spans_received", receiver.spans().len());
    if status.success() { Ok(()) } else { Err("the traced run failed".into()) }
}
