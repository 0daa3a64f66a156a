//! A disk that fails when it should, and what it was asked for.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use halfbyte_core::Clock;

use super::chain::{Link, Sealer};
use super::disk::Disk;
use super::entry::{Begun, Cut, Entry, Event, FORMAT};
use super::verify::{Doubt, Line, Lines, Walk};
use super::writer::{End, Product, Writer};
use super::{Hash, Record};

/// What a disk has, and what happens with the next calls of it.
#[derive(Clone, Debug, Default)]
struct State {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    calls: Vec<&'static str>,
    /// The names of calls that fail from now on.
    failing: Vec<&'static str>,
    moved: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn call(&self, name: &'static str, work: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.calls.push(name);
        if state.failing.contains(&name) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        work(&mut state);
        Ok(())
    }

    fn fail(&self, calls: &[&'static str]) {
        self.0.lock().unwrap().failing = calls.to_vec();
    }

    fn state(&self) -> State {
        self.0.lock().unwrap().clone()
    }
}

impl Disk for Fake {
    fn begin(&mut self, _number: u64) -> io::Result<()> {
        self.call("begin", |state| state.bytes.clear())
    }

    fn is_ours(&self, len: u64) -> io::Result<bool> {
        let state = self.0.lock().unwrap();
        Ok(!state.moved && state.bytes.len() as u64 == len)
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = at as usize;
        let write = |state: &mut State, bytes: &[u8]| {
            let end = state.bytes.len().max(at + bytes.len());
            state.bytes.resize(end, 0);
            state.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let outcome = self.call("write", |state| write(state, bytes));
        if outcome.is_err() {
            // A full disk takes a part.
            write(&mut self.0.lock().unwrap(), &bytes[..bytes.len() / 2]);
        }
        outcome
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.call("cut", |state| state.bytes.truncate(len as usize))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.call("sync", |state| state.synced = state.bytes.clone())
    }
}

fn writer(disk: &Fake) -> Writer<Fake> {
    Writer {
        disk: disk.clone(),
        end: End { last: Link::START, file: 1, len: 0 },
        sealer: Sealer::new(None),
        product: Product { name: "parcel".to_owned(), version: "1.2.3".to_owned() },
        clock: Clock::system(),
        rotate_at: u64::MAX,
        soiled: false,
    }
}

fn event() -> Event {
    let record = Record::new("label.make", "label", "L-1", super::Outcome::Allowed);
    Event::Record(Box::new(record.into_recorded(None).unwrap()))
}

/// How many whole lines there are; they are one chain, and nothing is behind them.
fn lines(bytes: &[u8]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let sealer = Sealer::new(None);
    let mut walk = Walk::new(&sealer, None);
    for line in Lines::of(vec![(None, path)]) {
        walk.step(&line.unwrap()).unwrap();
    }
    walk.last.sequence
}

#[test]
fn what_is_answered_for_is_synced_and_many_share_one_write_and_one_sync() {
    let disk = Fake::default();
    let mut writer = writer(&disk);
    let links = writer.commit(vec![event(), event(), event()]).unwrap();
    assert_eq!(links.iter().map(|link| link.sequence).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(disk.state().calls, ["write", "sync"]);
    assert_eq!(lines(&disk.state().synced), 4);
}

#[test]
fn a_write_or_a_sync_that_fails_is_answered_and_leaves_the_chain_as_it_was() {
    for failing in ["write", "sync"] {
        let disk = Fake::default();
        let mut writer = writer(&disk);
        writer.commit(vec![event()]).unwrap();
        let before = writer.end;
        disk.fail(&[failing]);
        let error = writer.commit(vec![event(), event()]).unwrap_err();
        assert!(error.is_storage(), "{error:?}");
        assert_eq!(writer.end, before);
        assert_eq!(lines(&disk.state().bytes), 2, "{failing}");
        disk.fail(&[]);
        assert_eq!(writer.commit(vec![event()]).unwrap()[0].sequence, 3);
        assert_eq!(lines(&disk.state().synced), 3);
    }
}

#[test]
fn what_could_not_be_taken_back_is_written_over_and_cut_with_the_next_record() {
    let disk = Fake::default();
    let mut writer = writer(&disk);
    writer.commit(vec![event()]).unwrap();
    disk.fail(&["sync", "cut"]);
    writer.commit(vec![event(), event(), event()]).unwrap_err();
    writer.commit(vec![event(), event()]).unwrap_err();
    disk.fail(&[]);
    assert_eq!(writer.commit(vec![event()]).unwrap()[0].sequence, 3);
    assert_eq!(lines(&disk.state().synced), 3);
}

#[test]
fn a_file_that_cannot_be_begun_is_an_error_and_tried_again() {
    let disk = Fake::default();
    let mut writer = Writer { rotate_at: 1, ..writer(&disk) };
    writer.commit(vec![event()]).unwrap();
    disk.fail(&["begin"]);
    writer.commit(vec![event()]).unwrap_err();
    assert_eq!(lines(&disk.state().bytes), 2);
    disk.fail(&["write"]);
    writer.commit(vec![event()]).unwrap_err();
    assert_eq!((writer.end.file, writer.end.len), (2, 0));
    disk.fail(&[]);
    assert_eq!(writer.commit(vec![event()]).unwrap()[0].sequence, 4, "behind the line that begins the file");
}

#[test]
fn a_file_that_somebody_else_changed_or_moved_is_not_written_to() {
    let disk = Fake::default();
    let mut writer = writer(&disk);
    writer.commit(vec![event()]).unwrap();
    disk.0.lock().unwrap().bytes.push(b'x');
    assert!(writer.commit(vec![event()]).unwrap_err().is_broken());
    disk.0.lock().unwrap().bytes.pop();
    disk.0.lock().unwrap().moved = true;
    assert!(writer.commit(vec![event()]).unwrap_err().is_broken());
}

#[test]
fn every_kind_of_line_is_read_as_it_was_written() {
    let event = Event::Repaired(Cut { cut_bytes: 3, cut_sha256: Hash::START });
    let text = serde_json::to_string(&event).unwrap();
    assert!(text.starts_with(r#"{"event":"repaired","cut_bytes":3,"cut_sha256":"0000"#), "{text}");
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
}

#[test]
fn a_line_has_its_place_in_the_chain_and_in_its_file() {
    let begun = |file| Event::File(Begun { format: FORMAT.to_owned(), algorithm: "sha256".to_owned(), file });
    let newer = Event::File(Begun { format: "halfbyte-audit/2".to_owned(), algorithm: "sha256".to_owned(), file: 1 });
    let some = super::chain::sha256(b"some line");
    // Sequence, hash of the line before (that of the chain if none), file by its name, line in it, what it says.
    let first = (1, Some(Hash::START), 1, 1, begun(1));
    let cases = [
        (vec![first.clone(), (2, None, 1, 2, event()), (3, None, 2, 1, begun(2))], None),
        (vec![(7, Some(some), 3, 1, begun(3)), (8, None, 3, 2, event())], None),
        (vec![(0, Some(some), 1, 1, begun(1))], Some(Doubt::Chain(0))),
        (vec![(2, Some(Hash::START), 1, 1, begun(1))], Some(Doubt::Chain(2))),
        (vec![(1, Some(some), 1, 1, begun(1))], Some(Doubt::Chain(1))),
        (vec![(1, Some(Hash::START), 1, 1, newer)], Some(Doubt::Chain(1))),
        (vec![(1, Some(Hash::START), 1, 1, event())], Some(Doubt::Chain(1))),
        (vec![(1, Some(Hash::START), 2, 1, begun(1))], Some(Doubt::Chain(1))),
        (vec![first.clone(), (2, None, 1, 2, begun(1))], Some(Doubt::Chain(2))),
        (vec![first.clone(), (2, None, 3, 1, begun(3))], Some(Doubt::Chain(2))),
        (vec![first.clone(), (3, None, 1, 2, event())], Some(Doubt::Chain(3))),
        (vec![first, (2, Some(some), 1, 2, event())], Some(Doubt::Chain(2))),
    ];
    for (case, (lines, doubt)) in cases.into_iter().enumerate() {
        let sealer = Sealer::new(None);
        let mut walk = Walk::new(&sealer, None);
        let mut found = None;
        for (sequence, prev, file, number, event) in lines {
            let (product, version) = ("parcel".to_owned(), "1.2.3".to_owned());
            let prev = prev.unwrap_or(walk.last.hash);
            let entry = Entry { sequence, time: Clock::system().now(), product, version, event, prev };
            let mut bytes = serde_json::to_vec(&entry).unwrap();
            sealer.seal(&mut bytes);
            bytes.pop();
            found = found.or(walk.step(&Line { file: Some(file), number, bytes, whole: true }).err());
        }
        assert_eq!(found, doubt, "case {case}");
    }
}
