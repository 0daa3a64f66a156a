//! What becomes of requests, usage and telemetry when a system that the products need is away, slow, or talks nonsense: a
//! matrix of faults, under load on both products, as a table. Exits with 1 if a promise is broken.
//!
//! It needs the real servers: `cargo xtask test --only faults`, or `cargo xtask backends up`, then what that prints and
//! `cargo run --all-features --example faults`. `-- --soak 10` asks for ten minutes with faults at random instead.
#![allow(clippy::disallowed_methods, reason = "this is not a product: it starts some")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails there"))]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

mod answer;
mod client;
mod fault;
mod judge;
mod load;
mod matrix;
mod pace;
mod proxy;
mod soak;
mod systems;
mod table;
mod telemetry;
mod world;

#[path = "../clinic/main.rs"]
mod clinic;
#[path = "../parcel/main.rs"]
mod parcel;
#[allow(dead_code, reason = "the tour does more with them")]
#[path = "../tour/process.rs"]
mod process;

use fault::System;
use table::Row;

/// What goes otherwise than it should ends the run.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "faults", about = "What becomes of everything when something is away")]
struct Cli {
    /// Only the faults of this system, for trying by hand
    #[arg(long, value_parser = ["issuer", "openbao", "postgres", "collector"])]
    only: Option<String>,
    /// So many minutes with faults at random, in place of the matrix
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440))]
    soak: Option<u32>,
    /// Which faults at random; those of before, when it is the same
    #[arg(long, default_value_t = u64::from(std::process::id()))]
    seed: u64,
    /// Requests a second to each product
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Write the table there, in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    // It starts itself again as each product, so that there is nothing to build or to find.
    match std::env::args().nth(1).as_deref() {
        Some("parcel") => parcel::main(),
        Some("clinic") => clinic::main(),
        _ => run(&Cli::parse()),
    }
}

#[tokio::main]
async fn run(cli: &Cli) -> ExitCode {
    match go(cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", halfbyte::core::error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn go(cli: &Cli) -> Outcome<bool> {
    let folder = tempfile::Builder::new().prefix("halfbyte-faults-").tempdir()?;
    if let Some(minutes) = cli.soak {
        return soak::run(folder.path(), minutes, cli.seed, cli.rate).await;
    }
    let begun = Instant::now();
    let mut rows = Vec::new();
    for system in System::ALL {
        if cli.only.as_ref().is_some_and(|only| only != system.name()) {
            continue;
        }
        println!("{system}");
        let own = folder.path().join(system.name());
        std::fs::create_dir(&own)?;
        rows.extend(matrix::rows(&own, system, cli.rate, tell).await?);
    }
    println!("\n{}\n{}", table::text(&rows), table::NOTES);
    if let Some(file) = &cli.markdown {
        std::fs::write(file, table::markdown(&rows))?;
    }
    let broken = rows.iter().filter(|row| !row.seen.verdict().is_empty()).count();
    println!(
        "{} faults of {} kinds, {broken} with broken promises, in {:.0} s",
        rows.len(),
        fault::Fault::ALL.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(broken == 0)
}

/// A line as it happens, and every promise that was broken.
fn tell(row: &Row) {
    let seen = &row.seen;
    let recovered = seen.recovered.map_or_else(|| "never".to_owned(), |after| format!("{:.1} s", after.as_secs_f64()));
    println!(
        "  {:20} {:6} requests, {} refused, recovered after {recovered} ({})",
        row.fault.name(),
        seen.requests(),
        seen.refused.values().sum::<u64>(),
        seen.last
    );
    for why in seen.verdict() {
        println!("    BROKEN: {why}");
    }
}
