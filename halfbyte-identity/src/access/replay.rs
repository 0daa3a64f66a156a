//! A dry run: what other policies would have decided.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use super::asked::{Asked, Seen};
use super::decision::Decision;
use super::explain::short_name;
use super::log::Record;
use super::rules::Rules;

/// A longer line is nothing that a recorder wrote.
const LONGEST: u64 = 4 << 20;

/// What came of a dry run: `Display` says it in lines for people.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Replay {
    /// How many recorded decisions were decided again.
    pub decisions: u64,
    /// How many would be as they were, decided by the same policies.
    pub same: u64,
    /// How many would be as they were, decided by other policies.
    pub otherwise: u64,
    /// How many that were allowed would be denied.
    pub newly_denied: u64,
    /// How many that were denied would be allowed.
    pub newly_allowed: u64,
    /// Lines that are no recorded decisions.
    pub unreadable: u64,
    /// The first of those: its line, from 1, and what is wrong with it.
    pub first_unreadable: Option<(u64, Box<str>)>,
    /// The first that would change.
    pub changes: Vec<Change>,
}

/// A decision that would change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Its line in the recorded log, from 1.
    pub line: u64,
    /// What was decided.
    pub before: Record,
    /// What would be.
    pub after: Decision,
}

impl Rules {
    /// Decides again what a [`Recorder`](super::Recorder) wrote, by these policies, and keeps the first `keep` decisions that
    /// would change. Reads line by line; what it holds does not grow with the log.
    ///
    /// # Errors
    ///
    /// `log` cannot be read. A line that is no recorded decision is counted, and is no error.
    pub fn replay(&self, mut log: impl BufRead, keep: usize) -> io::Result<Replay> {
        let (mut replay, mut line, mut number) = (Replay::default(), Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            if log.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
                return Ok(replay);
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST {
                skip_line(&mut log)?;
                replay.cannot_read(number, "it is longer than what a recorder writes");
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match read(&line) {
                Err(reason) => replay.cannot_read(number, &reason),
                Ok((before, asked)) => {
                    let after = asked.decide(self);
                    replay.count(number, before, after, keep);
                }
            }
        }
    }
}

fn read(line: &[u8]) -> Result<(Record, Asked), String> {
    // Its own message may quote what stands there.
    let wrong = |error: serde_json::Error| {
        format!("not a recorded decision ({:?} error at column {})", error.classify(), error.column())
    };
    let record: Record = serde_json::from_slice(line).map_err(wrong)?;
    let seen: Seen = serde_json::from_slice(line)
        .map_err(|_| "it does not hold what policies saw: only what a Recorder wrote can be replayed".to_owned())?;
    let asked = seen.into_asked().ok_or("the principal is not among its entities")?;
    Ok((record, asked))
}

fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let found = log.fill_buf()?;
        if found.is_empty() {
            return Ok(());
        }
        let end = found.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(found.len(), |end| end + 1);
        log.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

impl Replay {
    /// How many would be allowed that were not, or the other way round.
    pub fn changed(&self) -> u64 {
        self.newly_denied + self.newly_allowed
    }

    fn count(&mut self, line: u64, before: Record, after: Decision, keep: usize) {
        self.decisions += 1;
        match (before.is_allowed, after.is_allowed) {
            (true, false) => self.newly_denied += 1,
            (false, true) => self.newly_allowed += 1,
            _ if before.policies.iter().map(|id| &**id).eq(after.policies.iter().map(|id| &**id)) => {
                self.same += 1;
                return;
            }
            _ => {
                self.otherwise += 1;
                return;
            }
        }
        if self.changes.len() < keep {
            self.changes.push(Change { line, before, after });
        }
    }

    fn cannot_read(&mut self, line: u64, reason: &str) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| (line, reason.into()));
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decisions, same, otherwise, newly_denied, newly_allowed, unreadable, .. } = self;
        writeln!(f, "{decisions} recorded decisions")?;
        writeln!(f, "  {newly_denied:>8}  allowed, and would be denied")?;
        writeln!(f, "  {newly_allowed:>8}  denied, and would be allowed")?;
        writeln!(f, "  {otherwise:>8}  the same, by other policies")?;
        writeln!(f, "  {same:>8}  the same")?;
        if let Some((line, reason)) = &self.first_unreadable {
            writeln!(f, "  {unreadable:>8}  lines that cannot be replayed; line {line}: {reason}")?;
        }
        self.changes.iter().try_for_each(|change| write!(f, "\n{change}"))?;
        match self.changed() - self.changes.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more that would change"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, before, after } = self;
        let (who, what) = (short_name(&before.principal), short_name(&before.resource));
        writeln!(f, "line {line}: {who}, {} {what}", before.action)?;
        writeln!(f, "  was       {}", outcome(before.is_allowed, &before.policies, &before.errors))?;
        let errors: Vec<_> = after.errors.iter().map(ToString::to_string).collect();
        writeln!(f, "  would be  {}", outcome(after.is_allowed, &after.policies, &errors))
    }
}

fn outcome(is_allowed: bool, policies: &[impl AsRef<str>], errors: &[impl AsRef<str>]) -> String {
    let joined = |items: &[&str]| items.join(", ");
    let policies: Vec<_> = policies.iter().map(AsRef::as_ref).collect();
    let errors: Vec<_> = errors.iter().map(AsRef::as_ref).collect();
    match (is_allowed, policies.is_empty(), errors.is_empty()) {
        (true, ..) => format!("allowed by {}", joined(&policies)),
        (false, false, _) => format!("denied by {}", joined(&policies)),
        (false, true, true) => "denied: no policy permits it".to_owned(),
        (false, true, false) => format!("denied: cannot be evaluated: {}", joined(&errors)),
    }
}
