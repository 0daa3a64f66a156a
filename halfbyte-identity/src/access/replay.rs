//! A dry run: what other policies would have decided.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use super::asked::{Asked, Seen};
use super::cited::clipped;
use super::decision::Decision;
use super::explain::short_name;
use super::log::Record;
use super::recorder::LONGEST;
use super::rules::Rules;

/// How many policies that decided are shown of a change.
const SHOWN: usize = 20;

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
    if record.is_unclear() {
        return Err("the request did not say what it asked for: no policy was asked, and none can be now".to_owned());
    }
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
        writeln!(f, "line {line}: {who}, {} {what}", clipped(&before.action))?;
        writeln!(f, "  was       {}", outcome(before.is_allowed, &before.policies, &before.errors))?;
        let errors: Vec<_> = after.errors.iter().map(ToString::to_string).collect();
        writeln!(f, "  would be  {}", outcome(after.is_allowed, &after.policies, &errors))
    }
}

fn outcome(is_allowed: bool, policies: &[impl AsRef<str>], errors: &[impl AsRef<str>]) -> String {
    let joined = |items: &[&str]| {
        let mut shown: Vec<_> = items.iter().take(SHOWN).map(|item| clipped(item)).collect();
        let more = items.len().saturating_sub(SHOWN);
        shown.extend((more > 0).then(|| format!("and {more} more").into()));
        shown.join(", ")
    };
    let policies: Vec<_> = policies.iter().map(AsRef::as_ref).collect();
    let errors: Vec<_> = errors.iter().map(AsRef::as_ref).collect();
    match (is_allowed, policies.is_empty(), errors.is_empty()) {
        (true, ..) => format!("allowed by {}", joined(&policies)),
        (false, false, _) => format!("denied by {}", joined(&policies)),
        (false, true, true) => "denied: no policy permits it".to_owned(),
        (false, true, false) => format!("denied: cannot be evaluated: {}", joined(&errors)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::access::entity::{Entity, EntityRef, Value};
    use crate::access::recorder::line_of;

    fn name() -> impl Strategy<Value = String> {
        // Those that stand for something in the format are names like others.
        let special = proptest::sample::select(vec!["__entity", "__extn", "__record", "type", "id", "fn", "arg", ""]);
        prop_oneof![special.prop_map(str::to_owned), any::<String>()]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let time = (Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond())
            .prop_map(|at| Value::Time(Timestamp::from_nanosecond(at).expect("in range")));
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Long),
            any::<String>().prop_map(Value::from),
            any::<std::net::IpAddr>().prop_map(Value::Ip),
            (name(), name()).prop_map(|(kind, id)| Value::Entity(EntityRef::new(kind, id))),
            time,
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let fields = proptest::collection::btree_map(name().prop_map(Box::from), inner.clone(), 0..4);
            prop_oneof![proptest::collection::vec(inner, 0..4).prop_map(Value::Set), fields.prop_map(Value::Record)]
        })
    }

    fn record(principal: EntityRef) -> Record {
        Record {
            time: Timestamp::UNIX_EPOCH,
            principal,
            tenant: "acme".into(),
            action: "Read".into(),
            resource: EntityRef::new("Label", "l-1"),
            is_allowed: true,
            policies: Vec::new(),
            errors: Vec::new(),
            version: "1".into(),
            took: Duration::ZERO,
        }
    }

    proptest! {
        #[test]
        fn what_was_recorded_comes_back_as_it_was(
            attributes in proptest::collection::btree_map(name(), any_value(), 0..5),
            (kind, id) in (name(), name()),
        ) {
            let mut ann = Entity::new("HalfByte::User", "acme/ann").parent(EntityRef::new(kind, id));
            for (name, value) in attributes {
                ann = ann.attribute(name, value);
            }
            let record = record(ann.name().clone());
            let label = Entity::named(record.resource.clone());
            let line = line_of(&record, &[Arc::new(ann.clone()), Arc::new(label.clone())]);
            let (before, asked) = read(line.as_bytes()).map_err(TestCaseError::fail)?;
            prop_assert_eq!(before, record);
            prop_assert_eq!(asked.entities().collect::<Vec<_>>(), [&ann, &label]);
        }
    }

    #[test]
    fn what_stands_for_something_stands_alone() {
        let ann = Entity::new("HalfByte::User", "acme/ann").attribute("note", "NOTE");
        let line = line_of(&record(ann.name().clone()), &[Arc::new(ann)]);
        for (note, is_read) in [
            (r#"{"__entity":{"type":"Label","id":"l"}}"#, true),
            (r#"{"__entity":{"type":"Label","id":"l"},"more":1}"#, false),
            (r#"{"__extn":{"fn":"ip","arg":"::1"},"more":1}"#, false),
            (r#"{"__record":{"__entity":1}}"#, true),
            (r#"{"__record":{"a":1},"more":1}"#, false),
            (r#"{"__record":1}"#, false),
            (r#"{"__entity":1}"#, false),
        ] {
            let line = line.replace("\"NOTE\"", note);
            assert_eq!(read(line.as_bytes()).is_ok(), is_read, "{note}");
        }
    }
}
