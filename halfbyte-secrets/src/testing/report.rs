use std::fmt;

use super::trial::Stop;

/// What came of a run of the suite. Its `Display` is a table.
#[derive(Clone, Debug)]
#[must_use = "a report fails nothing until it is asserted"]
pub struct Report {
    provider: &'static str,
    checks: Vec<Check>,
}

/// One check of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a check. No text holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// The backend cannot do what it needs, and this is why.
    NotRun(String),
    /// It is not as it should be.
    Failed(String),
}

impl Report {
    pub(super) fn new(provider: &'static str) -> Self {
        Self { provider, checks: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &'static str, verdict: Verdict) {
        self.checks.push(Check { name, verdict });
    }

    /// All checks in the order in which they ran.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Those that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    /// Those that the backend could not be made to take: compare it with what you expect, so that it does not grow unseen.
    pub fn not_run(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::NotRun(_)))
    }

    /// # Panics
    ///
    /// If a check failed, with the table.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failed().is_empty(), "{self}");
    }

    fn names(&self, which: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.checks.iter().filter(|check| which(&check.verdict)).map(|check| check.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance of {}", self.provider)?;
        for Check { name, verdict } in &self.checks {
            let (sign, why) = match verdict {
                Verdict::Passed => ("passed", ""),
                Verdict::NotRun(why) => ("not run", why.as_str()),
                Verdict::Failed(why) => ("FAILED", why.as_str()),
            };
            writeln!(f, "  {}", format!("{name:<30}  {sign:<7}  {why}").trim_end())?;
        }
        Ok(())
    }
}

impl From<Result<(), Stop>> for Verdict {
    fn from(outcome: Result<(), Stop>) -> Self {
        match outcome {
            Ok(()) => Self::Passed,
            Err(Stop::NotRun(why)) => Self::NotRun(why),
            Err(Stop::Failed(why)) => Self::Failed(why),
        }
    }
}
