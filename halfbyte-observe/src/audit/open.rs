//! Goes on where the last process stopped.

use std::path::Path;

use halfbyte_core::Clock;

use super::chain::{Link, Sealer, sha256};
use super::disk::{self, Disk as _, Folder};
use super::entry::{Cut, Event};
use super::error::AuditError;
use super::verify::{Doubt, Lines, Walk};
use super::writer::{End, Product, Writer};

/// Checks the last file, and notes in the chain what had to be cut off its end.
pub(super) fn resume(
    mut disk: Folder,
    sealer: Sealer,
    product: Product,
    clock: Clock,
    rotate_at: u64,
) -> Result<Writer<Folder>, AuditError> {
    let (end, torn) = find_end(disk.path(), &sealer)?;
    let failed = |error| AuditError::storage("the audit log could not be opened for writing", error);
    disk.begin(end.file).map_err(failed)?;
    let mut writer = Writer { disk, end, sealer, product, clock, rotate_at: u64::MAX, soiled: false };
    if !torn.is_empty() {
        // Written over what is cut off, which is thus there until it is noted.
        writer.soiled = true;
        writer.commit(vec![Event::Repaired(Cut { cut_bytes: torn.len() as u64, cut_sha256: sha256(&torn) })])?;
    }
    writer.rotate_at = rotate_at;
    Ok(writer)
}

/// Where the log ends, and what stands there that is no line: what a process had written that died.
fn find_end(folder: &Path, sealer: &Sealer) -> Result<(End, Vec<u8>), AuditError> {
    let failed = |error| AuditError::storage(format!("{}: the audit log cannot be read", folder.display()), error);
    let mut files = disk::files(folder).map_err(failed)?;
    let mut newest = None;
    // A process that died when it began a file leaves one without a line: the chain then ends in the file before.
    while let Some((Some(file), path)) = files.pop() {
        let mut walk = Walk::new(sealer, None);
        let (mut len, mut line, mut torn) = (0, 0, Vec::new());
        for next in Lines::of(vec![(Some(file), path.clone())]) {
            let next = next.map_err(failed)?;
            line += 1;
            match walk.step(&next) {
                Ok(()) => len += next.bytes.len() as u64 + 1,
                Err(Doubt::Torn) if newest.is_none() => torn = next.bytes,
                Err(doubt) => return Err(broken(&path, line, &doubt)),
            }
        }
        let (newest_file, newest_len, torn) = newest.take().unwrap_or((file, len, torn));
        if walk.last != Link::START {
            return Ok((End { last: walk.last, file: newest_file, len: newest_len }, torn));
        }
        newest = Some((newest_file, newest_len, torn));
    }
    let (file, len, torn) = newest.unwrap_or((1, 0, Vec::new()));
    if file > 1 {
        return Err(AuditError::broken(format!("{}: the files before number {file} are missing", folder.display())));
    }
    Ok((End { last: Link::START, file, len }, torn))
}

fn broken(path: &Path, line: u64, doubt: &Doubt) -> AuditError {
    let why = match doubt {
        Doubt::Key => "it was written with a key and none was given, or the other way round",
        Doubt::Torn | Doubt::Hash | Doubt::Chain(_) => "it is not what was written, or was written with another key",
    };
    let path = path.display();
    AuditError::broken(format!("{path}:{line}: {why}; verify the log, move its folder away and keep it"))
}
