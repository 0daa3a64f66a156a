//! `cargo xtask soak`: load for minutes, with faults at random; and the program that does it, which is also the fault matrix.

use std::process::ExitCode;
use std::time::Duration;

use crate::backends::watchdog::Watchdog;
use crate::backends::{self, Session};
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::invocation::Invocation;

/// The servers that it puts its faults in front of.
const SERVERS: &[&str] = &["oidc-provider", "openbao", "postgres"];

/// For the program to be built.
const BUILD: Duration = Duration::from_secs(30 * 60);

#[derive(clap::Args)]
pub struct Args {
    /// How long it goes on
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Which faults; without it, other ones each time
    #[arg(long)]
    seed: Option<u64>,
    /// Requests a second to each product
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

/// Starts the servers, goes on for as long as was said, and stops them.
pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let dir = workspace.backends_dir();
    let _watchdog = Watchdog::start(&Session::run_record_path(&dir))?;
    // Built first: a compiler beside it would slow everything down.
    let program = program(workspace, Deadline::within(BUILD))?;
    let mut session = backends::start_for_tests(&dir, SERVERS)?;
    let program = session.env().iter().fold(program, |program, (key, value)| program.env(key, value));
    let numbers = [args.minutes.to_string(), args.rate.to_string()];
    let mut program = program.args(["--soak", &numbers[0], "--rate", &numbers[1]]);
    if let Some(seed) = args.seed {
        program = program.args(["--seed", &seed.to_string()]);
    }
    let by = Deadline::within(limit(args.minutes));
    let outcome = program.run(&workspace.root, by);
    session.stop()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What a soak of so many minutes may take: each of them ends with everything being well again.
fn limit(minutes: u32) -> Duration {
    Duration::from_secs(15 * 60) + Duration::from_secs(60) * minutes * 3
}

/// Builds the example `faults` with the features of the tests, so that nothing is built twice; answers what runs it.
pub fn program(workspace: &Workspace, by: Deadline) -> Result<Invocation> {
    Invocation::cargo("build --workspace --all-features --example faults").run(&workspace.root, by)?;
    Ok(Invocation::program(&workspace.target.join("debug/examples/faults")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_it_starts_is_one_that_there_is() {
        for name in SERVERS {
            assert!(backends::ALL.iter().any(|backend| backend.name == *name), "{name}");
        }
    }
}
