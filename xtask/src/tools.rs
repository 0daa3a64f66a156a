//! The programs that must be on the machine, and what to install when one is not.

use std::process::Command;

use crate::error::{Error, Result};

/// A program that the chores call.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The command that prints its version.
    version: &'static [&'static str],
    /// The least version that will do.
    least: Option<(u32, u32)>,
    /// What to do when it is missing or too old.
    install: &'static str,
}

pub const CARGO: Tool = Tool {
    version: &["cargo", "--version"],
    least: Some((1, 95)),
    install: "install Rust with rustup, then `rustup update stable`",
};
pub const RUSTFMT: Tool =
    Tool { version: &["cargo", "fmt", "--version"], least: None, install: "run `rustup component add rustfmt`" };
pub const CLIPPY: Tool =
    Tool { version: &["cargo", "clippy", "--version"], least: None, install: "run `rustup component add clippy`" };
pub const CC: Tool =
    Tool { version: &["cc", "--version"], least: None, install: "install a C compiler (Debian: build-essential)" };
pub const CXX: Tool =
    Tool { version: &["c++", "--version"], least: None, install: "install a C++ compiler (Debian: build-essential)" };
pub const PYTHON: Tool = Tool {
    version: &["python3", "--version"],
    least: Some((3, 10)),
    install: "install Python 3.10 or newer (Debian: python3)",
};
pub const PIP: Tool = Tool {
    version: &["python3", "-m", "pip", "--version"],
    least: None,
    install: "install pip for python3 (Debian: python3-pip)",
};
pub const NODE: Tool =
    Tool { version: &["node", "--version"], least: Some((20, 0)), install: "install Node.js 20 or newer" };
pub const NPM: Tool =
    Tool { version: &["npm", "--version"], least: None, install: "install npm (it comes with Node.js)" };

/// Everything that `cargo xtask test` calls.
pub const ALL: &[Tool] = &[CARGO, RUSTFMT, CLIPPY, CC, CXX, PYTHON, PIP, NODE, NPM];

/// Fails with one line for each of `tools` that is missing or too old.
pub fn require(tools: &[Tool]) -> Result {
    let missing: Vec<String> = tools.iter().filter_map(Tool::complaint).collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::new(missing.join("\n"))) }
}

impl Tool {
    fn complaint(&self) -> Option<String> {
        let [program, args @ ..] = self.version else { return None };
        let command = self.version.join(" ");
        let output = match Command::new(program).args(args).output() {
            Ok(output) if output.status.success() => output,
            Ok(_) => return Some(format!("`{command}` fails: {}", self.install)),
            Err(_) => return Some(format!("{program} is not there: {}", self.install)),
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        let least = self.least?;
        match version_in(&printed) {
            Some(found) if found >= least => None,
            _ => Some(format!("`{command}` says {}: {}", printed.trim(), self.install)),
        }
    }
}

/// The first `MAJOR.MINOR` in what a program printed of its version.
fn version_in(printed: &str) -> Option<(u32, u32)> {
    printed.split_whitespace().find_map(|word| {
        let mut parts = word.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(version_in("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"), Some((1, 95)));
        assert_eq!(version_in("v20.20.2\n"), Some((20, 20)));
        assert_eq!(version_in("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version_in("no version here"), None);
    }

    #[test]
    fn a_missing_program_is_one_line_that_says_what_to_install() {
        let absent = Tool { version: &["no-such-program", "--version"], least: None, install: "install it" };
        let error = require(&[absent, CARGO]).expect_err("there is no such program");
        assert_eq!(error.to_string(), "no-such-program is not there: install it");
    }

    #[test]
    fn a_program_that_is_too_old_says_so() {
        let future = Tool { least: Some((999, 0)), ..CARGO };
        let error = require(&[future]).expect_err("no such version is out");
        assert!(error.to_string().starts_with("`cargo --version` says cargo 1."), "{error}");
    }
}
