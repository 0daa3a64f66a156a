//! Asks policies, with no product running: `cargo run --example explain` is a tour; `-- why`, `-- who-can` and
//! `-- dry-run` ask a folder of policies.

mod folder;
mod question;
mod tour;

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes otherwise than it should ends the program.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(
    name = "explain",
    about = "Says why something may be done or not, who can do it, and what other policies would change; without a command, a tour",
    after_help = "A folder of policies has the product's .cedar and .cedarschema files; what every product has is added.\n\n\
                  explain why --policies policies --principal acme/ann --role clerk --action EditLabel \\\n    \
                  --resource 'Label::\"l-1\"' --attr sealed=true --attr 'owner=HalfByte::User::\"acme/ann\"'\n\
                  explain who-can --policies policies EditLabel Label\n\
                  explain dry-run --policies policies --log decisions.jsonl"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Why a principal may do something or not
    Why {
        /// The folder of policies
        #[arg(long)]
        policies: PathBuf,
        #[command(flatten)]
        question: Box<question::Question>,
        /// Show the values of the attributes that decide, too
        #[arg(long)]
        values: bool,
    },
    /// The policies that could permit an action on a type of resource, and those that limit them
    WhoCan {
        /// The folder of policies
        #[arg(long)]
        policies: PathBuf,
        /// Such as EditLabel
        action: String,
        /// Such as Label
        resource: String,
    },
    /// What would change if other policies had decided what was recorded
    DryRun {
        /// The folder of the policies to try
        #[arg(long)]
        policies: PathBuf,
        /// What a Recorder wrote
        #[arg(long)]
        log: PathBuf,
        /// How many changes to show
        #[arg(long, default_value_t = 20)]
        show: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => tour::run(),
        Some(command) => answer(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", halfbyte::core::error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn answer(command: Command) -> Outcome {
    match command {
        Command::Why { policies, question, values } => {
            let (rules, asked) = (folder::rules(&policies)?, question.asked()?);
            let explanation = if values { rules.explain_with_values(&asked) } else { rules.explain(&asked) };
            print!("{explanation}");
        }
        Command::WhoCan { policies, action, resource } => {
            print!("{}", folder::rules(&policies)?.who_can(&action, &resource).map_err(|error| error.to_string())?);
        }
        Command::DryRun { policies, log, show } => {
            let rules = folder::rules(&policies)?;
            let file = File::open(&log).map_err(|error| format!("{}: {error}", log.display()))?;
            print!("{}", rules.replay(BufReader::new(file), show)?);
        }
    }
    Ok(())
}
