//! A log as a table for people.

use std::error::Error;
use std::path::Path;

use halfbyte::observe::audit::{self, Entry, Event, Outcome, Person};

pub fn print(file: &Path) -> Result<(), Box<dyn Error>> {
    let heads = ["line", "time", "who", "action", "what", "outcome", "from"].map(str::to_owned);
    let mut rows = vec![heads];
    for entry in audit::read(file)? {
        rows.push(row(&entry?));
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(())
}

fn row(entry: &Entry) -> [String; 7] {
    let cells = match &entry.event {
        Event::File(begun) => {
            let writer = format!("{} {}", entry.product, entry.version);
            [writer, format!("(file {} begins, {})", begun.file, begun.algorithm), "".into(), "".into(), "".into()]
        }
        Event::Repaired(cut) => {
            let note = format!("({} bytes of a line half written were cut off)", cut.cut_bytes);
            ["".into(), note, "".into(), "".into(), "".into()]
        }
        Event::Record(record) => {
            let outcome = match &record.outcome {
                Outcome::Allowed => "allowed".to_owned(),
                Outcome::Denied { reason } => format!("denied: {reason}"),
                Outcome::Failed { reason } => format!("failed: {reason}"),
                other => format!("{other:?}"),
            };
            let what = format!("{} {}", record.what.kind, record.what.id);
            let from = record.from.map(|address| address.to_string()).unwrap_or_default();
            [who(&record.who), record.action.clone(), what, outcome, from]
        }
        other => ["".into(), format!("{other:?}"), "".into(), "".into(), "".into()],
    };
    let [who, action, what, outcome, from] = cells.map(|cell| printable(&cell));
    [entry.sequence.to_string(), format!("{:.3}", entry.time), who, action, what, outcome, from]
}

fn who(person: &Person) -> String {
    let hash = person.subject_hash.map(|hash| format!("#{}", &hash.to_string()[..12]));
    let name = person.subject.clone().or(hash).unwrap_or_default();
    let mut who = format!("{} {name}", person.kind);
    if let Some(tenant) = &person.tenant {
        who = format!("{who} of {tenant}");
    }
    for actor in &person.actors {
        let hash = actor.subject_hash.map(|hash| format!("#{}", &hash.to_string()[..12]));
        who = format!("{who}, by {}", actor.subject.clone().or(hash).unwrap_or_default());
    }
    who
}

/// What clients chose must not command the terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|char| if char.is_control() { char.escape_default().collect() } else { vec![char] }).collect()
}
