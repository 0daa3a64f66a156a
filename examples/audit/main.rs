//! Looks at audit logs: `cargo run --example audit -- verify FILE`, `-- show FILE`, and `-- demo`.

mod demo;
mod table;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use halfbyte::observe::audit::{self, Hash, Key, Verified};

#[derive(Parser)]
#[command(name = "audit", about = "Looks at audit logs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell whether a log is what was written, and if not where
    Verify {
        /// A file of the log, or its folder
        file: PathBuf,
        /// The file with the key that the log was written with
        #[arg(long)]
        key: Option<PathBuf>,
        /// A hash that the log is known to have had; finds what is missing at its end
        #[arg(long)]
        to: Option<Hash>,
    },
    /// Print a log as a table, without verifying it
    Show {
        /// A file of the log, or its folder
        file: PathBuf,
    },
    /// Write a log, change it, and see what verifying says
    Demo,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Verify { file, key, to } => {
            let key = key.as_deref().map(read_key).transpose()?;
            let verified = match to {
                Some(hash) => audit::verify_to(&file, key.as_ref(), hash)?,
                None => audit::verify(&file, key.as_ref())?,
            };
            print(&verified, to.is_some());
        }
        Command::Show { file } => table::print(&file)?,
        Command::Demo => demo::run()?,
    }
    Ok(())
}

fn read_key(file: &Path) -> Result<Key, Box<dyn Error>> {
    let secret = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let key = Key::new(secret.trim_ascii_end());
    Ok(key.ok_or_else(|| format!("{}: a key has at least 32 bytes", file.display()))?)
}

fn print(verified: &Verified, known: bool) {
    let Verified { files, records, repairs, clock_set_back, first, last, .. } = verified;
    println!("whole: {records} records in {files} file(s)");
    println!("first: line {} {}", first.sequence, first.hash);
    println!("last:  line {} {}", last.sequence, last.hash);
    if first.sequence > 1 {
        println!("note: what was before line {} is not here", first.sequence);
    }
    if *repairs > 0 {
        println!("note: {repairs} time(s) a process died while it wrote; `show` says where");
    }
    if *clock_set_back > 0 {
        println!("note: the clock was set back {clock_set_back} time(s)");
    }
    if !known {
        println!("note: what may be missing at the end only shows with `--to HASH`, a hash from elsewhere");
    }
}
