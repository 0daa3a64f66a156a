//! How a test run went, as a table and as the one line that CI reads.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::table;

/// How one step went.
pub enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    /// Left out by the person.
    Skipped,
    /// An earlier step failed.
    NotReached,
}

/// The outcome of each step so far.
#[derive(Default)]
pub struct Report(Vec<(&'static str, Outcome)>);

impl Report {
    pub fn add(&mut self, step: &'static str, outcome: Outcome) {
        self.0.push((step, outcome));
    }

    pub fn has_failed(&self) -> bool {
        self.count(|outcome| matches!(outcome, Outcome::Failed(..))) > 0
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.0.iter().filter(|(_, outcome)| is(outcome)).count()
    }
}

impl Outcome {
    fn took(&self) -> Duration {
        match self {
            Self::Passed(took) | Self::Failed(took, _) => *took,
            Self::Skipped | Self::NotReached => Duration::ZERO,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(..) => "FAILED",
            Self::Skipped => "skipped",
            Self::NotReached => "not reached",
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |took: Duration| format!("{:>7.1}", took.as_secs_f64());
        let mut rows: Vec<[String; 3]> = self
            .0
            .iter()
            .map(|(step, outcome)| [(*step).to_owned(), outcome.word().to_owned(), seconds(outcome.took())])
            .collect();
        let total = self.0.iter().map(|(_, outcome)| outcome.took()).sum();
        rows.push(["total".to_owned(), String::new(), seconds(total)]);
        write!(f, "\n{}\n", table::render(["step", "result", "seconds"], &rows))?;

        for (step, outcome) in &self.0 {
            if let Outcome::Failed(_, why) = outcome {
                writeln!(f, "{step} failed: {why}")?;
            }
        }
        let not_reached = self.count(|outcome| matches!(outcome, Outcome::NotReached));
        if not_reached > 0 {
            writeln!(f, "{not_reached} steps were not reached; --keep-going goes on after a failure")?;
        }
        let passed = self.count(|outcome| matches!(outcome, Outcome::Passed(_)));
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(..)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped));
        write!(f, "{passed} passed, {failed} failed")?;
        if skipped > 0 {
            write!(f, ", {skipped} skipped")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn last_line(outcomes: impl IntoIterator<Item = Outcome>) -> String {
        let report = Report(outcomes.into_iter().map(|outcome| ("step", outcome)).collect());
        report.to_string().lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_last_line_of_a_full_run_counts_passed_and_failed() {
        assert_eq!(last_line([Outcome::Passed(SECOND), Outcome::Passed(SECOND)]), "2 passed, 0 failed");
        let failed = Outcome::Failed(SECOND, "this failed".to_owned());
        assert_eq!(last_line([Outcome::Passed(SECOND), failed, Outcome::NotReached]), "1 passed, 1 failed");
    }

    #[test]
    fn the_last_line_tells_that_steps_were_skipped() {
        assert_eq!(last_line([Outcome::Skipped, Outcome::Passed(SECOND)]), "1 passed, 0 failed, 1 skipped");
    }
}
