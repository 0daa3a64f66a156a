//! Secrets alone: `cargo run --example secrets` is a tour; `-- set NAME`, `-- remove NAME` and `-- list` edit the encrypted
//! file in `HALFBYTE_HOME`. A value is asked for without showing it, or read from a pipe, and never an argument: those are
//! shown by process lists and kept by shells.

mod prompt;
mod tour;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use halfbyte::core::config::{Config, SecretsBackend};
use halfbyte::core::home::Home;
use halfbyte::secrets::{Local, Name};

/// What goes otherwise than it should ends the program.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(
    name = "secrets",
    about = "Edits the encrypted secrets in HALFBYTE_HOME; without a command, a tour of the crate",
    after_help = "A value is never an argument: set asks for it without showing it, or reads it from a pipe, such as\n    \
                  secrets set db-password < password.txt\n\
                  HALFBYTE_HOME is the folder of the product's state. The tour has a folder of its own, and leaves nothing."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Set a secret; its value is asked for, or read from a pipe
    Set {
        /// Such as db-password: 1 to 128 of A-Z a-z 0-9 . _ -
        name: String,
        /// Taken only to be refused by an error that does not show it, whatever it begins with.
        #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
        value: Vec<OsString>,
    },
    /// Remove a secret
    Remove {
        /// As `list` prints it
        name: String,
    },
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
    let home = Home::open(&config.home)?;
    let local = Local::open(&home)?;
    match command {
        Command::Set { value, .. } if !value.is_empty() => {
            return Err("a value is never an argument, which others can see and the shell keeps: \
                        leave it out, and it is asked for. Change the one that was there"
                .into());
        }
        Command::Set { name, .. } => {
            // Before the value is asked for.
            let name = Name::new(&name)?;
            let value = prompt::value(&format!("The value of {name} (not shown): "))?;
            local.set(name.as_str(), &value)?;
            println!("{name} is set, in {}", home.path().join("secrets").display());
        }
        Command::Remove { name } => {
            if !local.remove(&name)? {
                return Err(format!("there is no secret {name} in {}", home.path().display()).into());
            }
            println!("{name} is removed");
        }
        Command::List => {
            let names = local.names()?;
            names.iter().for_each(|name| println!("{name}"));
            if names.is_empty() {
                eprintln!("there is none yet, in {}", home.path().display());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn a_value_that_is_given_as_an_argument_is_not_echoed_by_the_parser_whatever_it_looks_like() {
        for arguments in [&["hunter2"][..], &["--hunter2"], &["--hunter2=x", "-x"], &["--", "--hunter2"], &["-hunter2"]]
        {
            let arguments = [&["secrets", "set", "db"], arguments].concat();
            match Cli::try_parse_from(&arguments).map(|cli| cli.command) {
                Ok(Some(Command::Set { name, value })) => assert!(name == "db" && !value.is_empty(), "{arguments:?}"),
                Ok(_) => panic!("another command: {arguments:?}"),
                // What begins with -h asks for help.
                Err(error) => assert!(error.kind() == ErrorKind::DisplayHelp && !error.to_string().contains("hunter2")),
            }
        }
        let alone = Cli::try_parse_from(["secrets", "set", "db"]).map(|cli| cli.command);
        assert!(matches!(alone, Ok(Some(Command::Set { value, .. })) if value.is_empty()));
    }
}
