//! A bounded run of each fuzz target, on the stable toolchain.
//!
//! What cargo-fuzz adds to a build are flags that stable rustc takes too, all but those of the sanitizers: of these nothing
//! is missed where unsafe code is forbidden.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::Workspace;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Result};
use crate::invocation::Invocation;

const TARGETS: [&str; 3] = ["verify", "jwks", "json"];

/// The counters by which libFuzzer sees where an input leads.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                         -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
                         -Ccodegen-units=1 --cfg fuzzing";

/// Seconds for all inputs of one target, and for one input.
const LIMITS: [&str; 4] = ["-max_total_time=20", "-timeout=10", "-rss_limit_mb=2048", "-max_len=4096"];

/// Builds the targets and runs each on its seeds.
pub fn run(workspace: &Workspace, by: Deadline) -> Result {
    let fuzz = workspace.root.join("fuzz");
    let built = workspace.target.join("fuzz");
    Invocation::cargo("fmt --check").run(&fuzz, by)?;
    // With a target named, cargo keeps the flags from build scripts and procedural macros.
    let host = host()?;
    Invocation::cargo("build --locked")
        .args(["--target", &host, "--target-dir", &built.to_string_lossy()])
        .env("RUSTFLAGS", RUSTFLAGS)
        .run(&fuzz, by)?;
    let programs = built.join(&host).join("debug");
    TARGETS.into_iter().try_for_each(|target| run_one(target, &fuzz, &programs, &built, by))
}

fn run_one(target: &str, fuzz: &Path, programs: &Path, scratch: &Path, by: Deadline) -> Result {
    // libFuzzer adds what it finds to the folder, so it gets one that nobody keeps.
    let corpus = scratch.join("corpus").join(target);
    let failures = scratch.join("failures").join(target);
    for folder in [&corpus, &failures] {
        if folder.exists() {
            fs::remove_dir_all(folder).context(format_args!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).context(format_args!("cannot make {}", folder.display()))?;
    }
    copy(&fuzz.join("seeds").join(target), &corpus)?;
    Invocation::program(&programs.join(target))
        .args(LIMITS)
        .args(["-print_final_stats=1", "-verbosity=0", "-print_funcs=0"])
        .args([&*format!("-dict={}", fuzz.join("jose.dict").display())])
        // What it is put before: hence the slash at the end.
        .args([&*format!("-artifact_prefix={}/", failures.display()), &corpus.to_string_lossy()])
        .run(fuzz, by)
        .map_err(|error| explain(target, &files(&failures).unwrap_or_default(), &error))
}

/// Names the input that made the target fail, with the way to run it alone.
fn explain(target: &str, inputs: &[PathBuf], error: &Error) -> Error {
    match inputs {
        [] => Error::new(format!("the fuzz target {target} did not run to its end: {error}")),
        [input, ..] => Error::new(format!(
            "the fuzz target {target} fails for the input {}\n  (run the command above with this file as its only argument)",
            input.display()
        )),
    }
}

fn copy(from: &Path, to: &Path) -> Result {
    let seeds = files(from)?;
    if seeds.is_empty() {
        return Err(Error::new(format!("there are no seeds in {}", from.display())));
    }
    seeds.iter().try_for_each(|seed| {
        let name = seed.file_name().unwrap_or_default();
        fs::copy(seed, to.join(name)).context(format_args!("cannot copy {}", seed.display())).map(drop)
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).context(format_args!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry.context(format_args!("cannot list {}", folder.display()))?.path())).collect()
}

/// The target that rustc builds for by itself.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run `rustc -vV`")?;
    host_in(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Error::new("`rustc -vV` does not say for which host it builds"))
}

fn host_in(printed: &str) -> Option<String> {
    printed.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_as_rustc_prints_it() {
        let printed = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(host_in(printed).as_deref(), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host_in("rustc 1.95.0"), None);
    }

    #[test]
    fn each_target_has_its_program_and_its_seeds() {
        let fuzz = Workspace::load().expect("cargo runs this test").root.join("fuzz");
        let mut programs: Vec<String> = files(&fuzz.join("targets"))
            .expect("targets")
            .iter()
            .filter_map(|file| file.file_stem()?.to_str().map(str::to_owned))
            .collect();
        programs.sort_unstable();
        let mut targets = TARGETS;
        targets.sort_unstable();
        assert_eq!(programs, targets, "each program is run");
        for target in TARGETS {
            let corpus = tempfile::tempdir().expect("a temporary folder");
            copy(&fuzz.join("seeds").join(target), corpus.path()).expect("seeds");
            assert!(files(corpus.path()).expect("copied").len() > 1, "{target}");
        }
    }

    #[test]
    fn a_target_without_seeds_is_an_error() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        assert!(copy(empty.path(), empty.path()).expect_err("no seeds").to_string().starts_with("there are no seeds"));
    }

    #[test]
    fn a_failure_names_the_input() {
        let failed = Error::new("exit status: 77");
        let found = explain("verify", &[PathBuf::from("target/fuzz/failures/verify/crash-1")], &failed).to_string();
        assert!(found.starts_with("the fuzz target verify fails for the input target/fuzz/failures/verify/crash-1"));
        let lost = explain("verify", &[], &failed).to_string();
        assert!(lost.ends_with("exit status: 77"), "{lost}");
    }
}
