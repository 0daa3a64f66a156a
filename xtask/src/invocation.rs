//! A command that is shown as a person would type it, then run.

use std::fmt::{self, Display};
use std::path::Path;
use std::process::Command;

use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// A program with its arguments and the variables that are set for it.
#[derive(Debug)]
pub struct Invocation {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Invocation {
    /// Of `cargo`, with arguments that hold no blanks, as in `cargo("test --workspace")`.
    pub fn cargo(args: &str) -> Self {
        Self {
            program: "cargo".to_owned(),
            args: args.split_whitespace().map(str::to_owned).collect(),
            env: Vec::new(),
        }
    }

    /// Of a program that was built.
    pub fn program(path: &Path) -> Self {
        Self { program: path.to_string_lossy().into_owned(), args: Vec::new(), env: Vec::new() }
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Prints the command and runs it in `directory`, its output going where ours goes; `by` then it must have ended.
    pub fn run(&self, directory: &Path, by: Deadline) -> Result {
        println!("$ {self}");
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value))).current_dir(directory);
        let status = by.run(&mut command, self)?;
        if status.success() { Ok(()) } else { Err(Error::new(format!("this failed with {status}:\n  {self}"))) }
    }
}

impl Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{key}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_command_is_shown_ready_to_paste() {
        let doc = Invocation::cargo("doc --workspace").env("RUSTDOCFLAGS", "-D warnings").args(["it's"]);
        assert_eq!(doc.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc --workspace 'it'\''s'");
    }

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let fails = Invocation { program: "false".to_owned(), args: vec!["--now".to_owned()], env: Vec::new() };
        let error =
            fails.run(Path::new("."), Deadline::within(Duration::from_secs(60))).expect_err("that is what it is for");
        assert_eq!(error.to_string(), "this failed with exit status: 1:\n  false --now");
    }
}
