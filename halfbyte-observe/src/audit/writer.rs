//! Writes lines: many by one write and one wait for the disk.

use halfbyte_core::Clock;

use super::chain::{Link, Sealer};
use super::disk::Disk;
use super::entry::{Begun, Entry, Event, FORMAT};
use super::error::AuditError;

/// What every line says of who writes it.
#[derive(Clone, Debug)]
pub(super) struct Product {
    pub(super) name: String,
    pub(super) version: String,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) last: Link,
    /// The number of the last file, from 1.
    pub(super) file: u64,
    /// How long it is.
    pub(super) len: u64,
}

pub(super) struct Writer<D> {
    pub(super) disk: D,
    pub(super) end: End,
    pub(super) sealer: Sealer,
    pub(super) product: Product,
    pub(super) clock: Clock,
    pub(super) rotate_at: u64,
    /// There may be something behind the end, which is no line.
    pub(super) soiled: bool,
}

impl<D: Disk> Writer<D> {
    /// Writes all of `events`, or none; answers where each stands once the disk has them.
    pub(super) fn commit(&mut self, events: Vec<Event>) -> Result<Vec<Link>, AuditError> {
        let failed = |error| AuditError::storage("the audit log could not be written; it was not recorded", error);
        if !self.soiled && !self.disk.is_ours(self.end.len).map_err(failed)? {
            return Err(AuditError::broken(
                "the file of the audit log was moved or its length changed by somebody else; verify it, and open it anew".into(),
            ));
        }
        if self.end.len >= self.rotate_at && !self.soiled {
            self.disk.begin(self.end.file + 1).map_err(failed)?;
            self.end = End { file: self.end.file + 1, len: 0, ..self.end };
        }
        let (mut lines, mut last) = (Vec::new(), self.end.last);
        if self.end.len == 0 {
            let (format, algorithm) = (FORMAT.to_owned(), self.sealer.algorithm().to_owned());
            let begun = Begun { format, algorithm, file: self.end.file };
            last = self.line(&mut lines, last, Event::File(begun))?;
        }
        let mut links = Vec::with_capacity(events.len());
        for event in events {
            last = self.line(&mut lines, last, event)?;
            links.push(last);
        }
        let len = self.end.len + lines.len() as u64;
        if let Err(error) = self.write(&lines, len) {
            // Those who wait hear that it was not recorded, so it must not stay; tried again with the next one.
            self.soiled = self.disk.cut(self.end.len).and_then(|()| self.disk.sync()).is_err();
            return Err(failed(error));
        }
        self.soiled = false;
        self.end = End { last, len, ..self.end };
        Ok(links)
    }

    fn write(&mut self, lines: &[u8], len: u64) -> std::io::Result<()> {
        self.disk.write(lines, self.end.len)?;
        if self.soiled {
            self.disk.cut(len)?;
        }
        self.disk.sync()
    }

    fn line(&self, lines: &mut Vec<u8>, last: Link, event: Event) -> Result<Link, AuditError> {
        let entry = Entry {
            sequence: last.sequence + 1,
            time: self.clock.now(),
            product: self.product.name.clone(),
            version: self.product.version.clone(),
            event,
            prev: last.hash,
        };
        let mut line = serde_json::to_vec(&entry)
            .map_err(|error| AuditError::invalid(format!("the record cannot be written as JSON: {error}")))?;
        let hash = self.sealer.seal(&mut line);
        lines.append(&mut line);
        Ok(Link { sequence: entry.sequence, hash })
    }
}
