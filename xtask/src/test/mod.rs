//! `cargo xtask test`: everything that must hold, in order, against the real servers.

mod alone;
mod deploy;
mod fuzz;
mod steps;
mod summary;

use std::process::ExitCode;
use std::time::Instant;

use clap::builder::PossibleValuesParser;

use self::steps::{Run, STEPS};
use self::summary::{Outcome, Report};
use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Go on after a step that failed
    #[arg(long)]
    keep_going: bool,
    /// Do only these steps, for quick work
    #[arg(long, value_delimiter = ',', value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
    /// Leave out these steps
    #[arg(long, value_delimiter = ',', value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

impl Args {
    fn wants(&self, step: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == step);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

/// Runs the steps and prints how each went.
pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut run = Run::new(workspace)?;
    let mut report = Report::default();
    for (index, step) in STEPS.iter().enumerate() {
        if !args.wants(step.name) {
            report.add(step.name, Outcome::Skipped);
            continue;
        }
        if report.has_failed() && !args.keep_going && step.name != steps::STOP {
            report.add(step.name, Outcome::NotReached);
            continue;
        }
        println!("\n== [{}/{}] {}: {}", index + 1, STEPS.len(), step.name, step.what);
        let begun = Instant::now();
        run.by = Deadline::within(step.limit);
        let result = (step.run)(&mut run);
        let took = begun.elapsed();
        match result {
            Ok(()) => {
                println!("== {} passed in {:.1} s", step.name, took.as_secs_f64());
                report.add(step.name, Outcome::Passed(took));
            }
            Err(error) => {
                println!("== {} FAILED after {:.1} s", step.name, took.as_secs_f64());
                report.add(step.name, Outcome::Failed(took, error.to_string()));
            }
        }
    }
    // Before the summary, so that nothing of ours runs any more when the last line is read.
    drop(run);
    print!("{report}");
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
