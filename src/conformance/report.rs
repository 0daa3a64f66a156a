use std::fmt;

use serde::Serialize;

/// What came of a run: each clause, whether it holds, what was sent and what came back.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The product.
    pub product: String,
    /// The version of the contract.
    pub contract: String,
    /// In the order of the clauses.
    pub outcomes: Vec<Outcome>,
}

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The clause of `CONTRACT.md`.
    pub clause: &'static str,
    /// What was checked of it.
    pub what: &'static str,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What was sent and what came back, in order.
    pub exchanges: Vec<Exchange>,
}

/// Whether a clause holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// It does.
    Passed,
    /// It does not, and how.
    Failed(String),
    /// The product has nothing that the clause is about, and why.
    NotApplicable(String),
    /// It cannot be seen from outside, and where it is tested instead.
    Unseen(String),
}

/// One request and what came back, shortened, without credentials.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Exchange {
    /// The request.
    pub sent: String,
    /// The response, or why there is none.
    pub received: String,
}

impl Report {
    /// Whether no clause failed.
    pub fn is_passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_)))
    }

    /// Ends the test if a clause failed.
    ///
    /// # Panics
    ///
    /// A clause failed. The whole report is printed before that, since the message of a panic is cut where it is logged.
    pub fn assert(&self) {
        if !self.is_passed() {
            eprintln!("{self}");
        }
        let failed: Vec<_> = self.failed().map(|outcome| outcome.clause).collect();
        assert!(failed.is_empty(), "{} does not conform: {}", self.product, failed.join(", "));
    }

    /// The report in JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

/// A line for each check, what failed with what was sent and what came back, and a line that sums it up.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.product, self.contract)?;
        for Outcome { clause, what, verdict, exchanges } in &self.outcomes {
            match verdict {
                Verdict::Passed => writeln!(f, "  pass  {clause:<12} {what}")?,
                Verdict::NotApplicable(why) => writeln!(f, "  -     {clause:<12} {what} ({why})")?,
                Verdict::Unseen(why) => writeln!(f, "  .     {clause:<12} {what} ({why})")?,
                Verdict::Failed(how) => {
                    writeln!(f, "  FAIL  {clause:<12} {what}\n        {how}")?;
                    for Exchange { sent, received } in exchanges {
                        writeln!(f, "        > {}\n        < {}", indented(sent), indented(received))?;
                    }
                }
            }
        }
        let count = |is: fn(&Verdict) -> bool| self.outcomes.iter().filter(|outcome| is(&outcome.verdict)).count();
        write!(
            f,
            "{} passed, {} failed, {} not applicable, {} not seen from outside",
            count(|verdict| matches!(verdict, Verdict::Passed)),
            self.failed().count(),
            count(|verdict| matches!(verdict, Verdict::NotApplicable(_))),
            count(|verdict| matches!(verdict, Verdict::Unseen(_))),
        )
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n          ")
}
