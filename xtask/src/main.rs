//! The project's chores, in Rust: `cargo xtask test | backends | bench | new | soak | weigh`.
//!
//! `test` is the test command of the README and all that CI runs. `backends` starts the same real servers for a
//! person who wants to look at one or to run one test against it. Everything that is fetched, logged or recorded
//! stays below `target/backends`.

#![allow(clippy::disallowed_methods, reason = "chores run outside a product: no configuration, clock or drain here")]

mod backends;
mod bench;
mod cargo;
mod deadline;
mod error;
mod invocation;
mod new;
mod rules;
mod soak;
mod table;
mod test;
mod tools;
mod weigh;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cargo::Workspace;
use crate::error::Result;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "The project's chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything, against the real servers: what CI runs
    Test(test::Args),
    /// The real servers that the tests run against
    #[command(subcommand)]
    Backends(backends::Chore),
    /// Run the benches, or one of them
    Bench {
        /// The bench to run; all of them when left out
        name: Option<String>,
    },
    /// Write a product outside of this workspace
    New(new::Args),
    /// Load on both products for minutes, with faults at random, and what becomes of memory meanwhile
    Soak(soak::Args),
    /// What the example product weighs: its build from nothing, its binary, and what each feature adds to them
    Weigh,
    /// Stop the backends in RECORD once standard input closes
    #[command(hide = true)]
    Watch { record: PathBuf },
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Test(args) => test::run(&Workspace::load()?, &args),
        Chore::Backends(chore) => backends::run(&Workspace::load()?, &chore).map(|()| ExitCode::SUCCESS),
        Chore::Bench { name } => bench::run(&Workspace::load()?, name.as_deref()).map(|()| ExitCode::SUCCESS),
        Chore::New(args) => new::run(&Workspace::load()?, &args).map(|()| ExitCode::SUCCESS),
        Chore::Soak(args) => soak::run(&Workspace::load()?, &args),
        Chore::Weigh => weigh::run(&Workspace::load()?).map(|()| ExitCode::SUCCESS),
        Chore::Watch { record } => backends::watchdog::watch(&record).map(|()| ExitCode::SUCCESS),
    }
}
