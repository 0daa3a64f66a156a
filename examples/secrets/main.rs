//! Secrets alone: `cargo run --example secrets` is a tour; `-- set NAME`, `-- remove NAME` and `-- list` edit the encrypted
//! file in `HALFBYTE_HOME`. A value is asked for without showing it, or read from a pipe, and never an argument: those are
//! shown by process lists and kept by shells.

mod prompt;
mod tour;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use halfbyte::core::config::{Config, SecretsBackend};
use halfbyte::core::home::Home;
use halfbyte::secrets::{Local, Name};

/// What goes otherwise than it should ends the program.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "secrets", about = "Edits the encrypted file in HALFBYTE_HOME; without a command, a tour")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Set a secret; its value is asked for, or read from a pipe
    Set { name: String },
    /// Remove a secret
    Remove { name: String },
    /// Print the names of all secrets
    List,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => tour::run(),
        Some(command) => edit(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", halfbyte::core::error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn edit(command: Command) -> Outcome {
    let config = Config::from_env()?;
    if config.secrets != SecretsBackend::Local {
        return Err("HALFBYTE_SECRETS_URL is not local:, so nothing would read this file".into());
    }
    let local = Local::open(&Home::open(&config.home)?)?;
    match command {
        Command::Set { name } => {
            // Before the value is asked for.
            let name = Name::new(&name)?;
            let value = prompt::value(&format!("The value of {name} (not shown): "))?;
            local.set(name.as_str(), &value)?;
            println!("{name} is set");
        }
        Command::Remove { name } => {
            if !local.remove(&name)? {
                return Err("there is no such secret".into());
            }
            println!("{name} is removed");
        }
        Command::List => local.names()?.iter().for_each(|name| println!("{name}")),
    }
    Ok(())
}
