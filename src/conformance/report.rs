use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::junit;

/// What came of a run: each clause, whether it holds, what was sent and what came back.
///
/// Its `Display` is for people, [`to_junit`](Self::to_junit) for build servers and [`to_json`](Self::to_json) for everything else.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The product.
    pub product: String,
    /// The version of the contract.
    pub contract: String,
    /// In the order in which they were checked.
    pub outcomes: Vec<Outcome>,
    /// What no check could ask, such as routes without a sample.
    pub not_asked: Vec<NotAsked>,
}

/// What could not be asked of the product, so that the clauses that hold are not known to hold of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotAsked {
    /// The route, as [`Sample::of`](super::Sample::of) has it, or the secret.
    pub of: String,
    /// Why it was not asked.
    pub why: String,
    /// Whether the product says that this is in order: it fails the run otherwise.
    pub is_in_order: bool,
    /// The checks that went without, each by its clause and what it checks.
    pub checks: Vec<String>,
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
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long that took; in JSON `took_seconds`.
    #[serde(rename = "took_seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// What was sent and what came back, in order: the last 20 of the check.
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

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Of clauses that hold.
    pub passed: usize,
    /// Of clauses that do not hold.
    pub failed: usize,
    /// Of clauses that are about nothing in this product.
    pub not_applicable: usize,
    /// Of clauses that cannot be seen from outside.
    pub unseen: usize,
}

impl Report {
    /// Whether no clause failed, and everything was asked that the product does not [exempt](NotAsked::is_in_order).
    pub fn is_passed(&self) -> bool {
        self.failed().next().is_none() && self.overlooked().next().is_none()
    }

    /// What was not asked, and nothing says that this is in order.
    pub fn overlooked(&self) -> impl Iterator<Item = &NotAsked> {
        self.not_asked.iter().filter(|not_asked| !not_asked.is_in_order)
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_)))
    }

    /// How many checks ended how.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.outcomes)
    }

    /// How many ended how in each section of `CONTRACT.md`, in the order of these: `("Usage", ..)`.
    pub fn sections(&self) -> Vec<(&'static str, Counts)> {
        let counted = self.by_section().into_iter();
        counted.map(|(section, outcomes)| (section, Counts::of(outcomes))).collect()
    }

    fn by_section(&self) -> Vec<(&'static str, Vec<&Outcome>)> {
        let mut sections: BTreeMap<usize, Vec<&Outcome>> = BTreeMap::new();
        self.outcomes.iter().for_each(|outcome| sections.entry(section(outcome.clause)).or_default().push(outcome));
        for outcomes in sections.values_mut() {
            outcomes.sort_by_key(|outcome| outcome.clause);
        }
        sections
            .into_iter()
            .map(|(at, outcomes)| (SECTIONS.get(at).map_or("Others", |(_, name)| name), outcomes))
            .collect()
    }

    /// Ends the test unless it [is passed](Self::is_passed).
    ///
    /// # Panics
    ///
    /// A clause failed, or something was not asked. The whole report is printed before that, since the message of a panic is cut where it is logged.
    pub fn assert(&self) {
        if !self.is_passed() {
            eprintln!("{self}");
        }
        let failed = self.failed().map(|outcome| outcome.clause.to_owned());
        let failed: Vec<_> =
            failed.chain(self.overlooked().map(|not_asked| format!("{} not asked", not_asked.of))).collect();
        assert!(failed.is_empty(), "{} does not conform: {}", self.product, failed.join(", "));
    }

    /// The report in JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// The report as JUnit's XML, which build servers read: a suite for the product, a case for each check. What does not apply, cannot be
    /// seen or was not asked in order is skipped, with the reason.
    pub fn to_junit(&self) -> String {
        junit::write(self)
    }

    /// Writes [`to_json`](Self::to_json) to a file, in place of one that is there.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_json(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, format!("{:#}\n", self.to_json()))
    }

    /// Writes [`to_junit`](Self::to_junit) to a file, in place of one that is there.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_junit(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_junit())
    }
}

/// The sections of `CONTRACT.md`, in their order.
const SECTIONS: [(&str, &str); 10] = [
    ("HB-VER", "Versions"),
    ("HB-REQ", "Requests"),
    ("HB-REF", "Refusals"),
    ("HB-AUTH", "Authentication"),
    ("HB-ACC", "Access control"),
    ("HB-ISS", "The embedded issuer"),
    ("HB-USE", "Usage"),
    ("HB-LIFE", "Life"),
    ("HB-TEL", "Telemetry"),
    ("HB-INV", "Across systems"),
];

/// Its place among them.
fn section(clause: &str) -> usize {
    let is_its = |(prefix, _): &(&str, &str)| clause.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-'));
    SECTIONS.iter().position(is_its).unwrap_or(SECTIONS.len())
}

impl Counts {
    fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome.verdict {
                Verdict::Passed => &mut counts.passed,
                Verdict::Failed(_) => &mut counts.failed,
                Verdict::NotApplicable(_) => &mut counts.not_applicable,
                Verdict::Unseen(_) => &mut counts.unseen,
            } += 1;
        }
        counts
    }
}

/// `40 passed, 0 failed, 2 not applicable, 9 not seen from outside`
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, not_applicable, unseen } = self;
        write!(f, "{passed} passed, {failed} failed, {not_applicable} not applicable, {unseen} not seen from outside")
    }
}

/// By section, a line for each check; what failed with what was sent and what came back; what was not asked; and a line that sums it up.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.product, self.contract)?;
        for (section, outcomes) in self.by_section() {
            writeln!(f, "\n{section}")?;
            for Outcome { clause, what, verdict, exchanges, .. } in outcomes {
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
        }
        if !self.not_asked.is_empty() {
            writeln!(f, "\nNot asked")?;
        }
        for NotAsked { of, why, is_in_order, checks } in &self.not_asked {
            writeln!(f, "  {}  {of}: {why}", if *is_in_order { "-   " } else { "FAIL" })?;
            checks.iter().try_for_each(|check| writeln!(f, "        {check}"))?;
        }
        write!(f, "\n{}", self.counts())?;
        // What failed is far up by now.
        self.failed().try_for_each(|Outcome { clause, what, .. }| write!(f, "\n  FAIL  {clause:<12} {what}"))?;
        self.overlooked().try_for_each(|NotAsked { of, why, .. }| write!(f, "\n  FAIL  {of}: {why}"))?;
        let exempt = self.not_asked.len() - self.overlooked().count();
        if exempt > 0 { write!(f, "\n  -     {exempt} not asked, as the product says") } else { Ok(()) }
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n          ")
}

fn seconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_secs_f64())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn report(how: &str) -> Report {
        let outcome = |clause, what, verdict| {
            let exchanges = match verdict {
                Verdict::Failed(_) => vec![Exchange { sent: "GET /\na: b".into(), received: "200 OK".into() }],
                _ => Vec::new(),
            };
            Outcome { clause, what, verdict, took: Duration::from_millis(1500), exchanges }
        };
        let outcomes = vec![
            outcome("HB-USE-002", "keys", Verdict::Passed),
            outcome("HB-REQ-001", "ids", Verdict::Failed(how.to_owned())),
            outcome("HB-USE-001", "once", Verdict::NotApplicable("no meter".to_owned())),
            outcome("HB-LIFE-003", "twice", Verdict::Unseen("a file".to_owned())),
        ];
        let not_asked = |of: &str, why: &str, is_in_order| NotAsked {
            of: of.to_owned(),
            why: why.to_owned(),
            is_in_order,
            checks: vec!["HB-USE-009 more".to_owned()],
        };
        let not_asked = vec![not_asked("GET /a", "no sample", false), not_asked("GET /b", "a bank", true)];
        Report { product: "parcel".into(), contract: "V1".into(), outcomes, not_asked }
    }

    #[test]
    fn people_see_sections_a_line_for_each_check_and_what_was_said_where_one_failed() {
        let text = report("it was lost").to_string();
        let expected = "parcel on V1\n\n\
            Requests\n  FAIL  HB-REQ-001   ids\n        it was lost\n        > GET /\n          a: b\n        < 200 OK\n\n\
            Usage\n  -     HB-USE-001   once (no meter)\n  pass  HB-USE-002   keys\n\n\
            Life\n  .     HB-LIFE-003  twice (a file)\n\n\
            Not asked\n  FAIL  GET /a: no sample\n        HB-USE-009 more\n  -     GET /b: a bank\n        HB-USE-009 more\n\n\
            1 passed, 1 failed, 1 not applicable, 1 not seen from outside\n  FAIL  HB-REQ-001   ids\n  \
            FAIL  GET /a: no sample\n  -     1 not asked, as the product says";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_read_it_as_json() {
        let report = report("it was lost").to_json();
        assert_eq!(report["outcomes"][0]["verdict"], "passed");
        let failed = &report["outcomes"][1];
        assert_eq!((&failed["verdict"], &failed["reason"]), (&json!("failed"), &json!("it was lost")));
        assert_eq!(
            (&report["not_asked"][0]["of"], &report["not_asked"][0]["is_in_order"]),
            (&json!("GET /a"), &json!(false))
        );
        assert_eq!((&failed["took_seconds"], &failed["exchanges"][0]["received"]), (&json!(1.5), &json!("200 OK")));
    }

    #[test]
    fn what_was_not_asked_fails_the_run_unless_the_product_says_that_it_is_in_order() {
        let mut report = report("it was lost");
        report.outcomes.clear();
        assert!(!report.is_passed());
        let told = std::panic::catch_unwind(|| report.assert()).unwrap_err();
        assert_eq!(told.downcast_ref::<String>().unwrap(), "parcel does not conform: GET /a not asked");
        report.not_asked.remove(0);
        assert!(report.is_passed());
        report.assert();
    }

    #[test]
    fn sections_are_those_of_the_contract() {
        let contract = include_str!("../../CONTRACT.md");
        for line in contract.lines().filter_map(|line| line.strip_prefix("## ")) {
            let (name, prefix) = line.trim_end_matches(')').rsplit_once(" (").unwrap();
            assert!(SECTIONS.contains(&(prefix, name)), "{name} ({prefix}) is not among the sections");
        }
    }
}
