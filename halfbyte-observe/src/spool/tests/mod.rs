mod damage;
mod model;
mod order;
mod ownership;
mod processes;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Batch, Spool};

/// More than any test here needs.
const ROOMY: u64 = 64 * 1024 * 1024;

fn private() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// Batch `number`, with a payload of `size` bytes that says which one it is.
fn batch(number: u64, items: u64, size: usize) -> Batch {
    let mut payload = format!("{number};").into_bytes();
    payload.resize(payload.len().max(size), b'.');
    Batch { items, payload: payload.into() }
}

fn number(batch: &Batch) -> u64 {
    std::str::from_utf8(&batch.payload).unwrap().split_once(';').unwrap().0.parse().unwrap()
}

fn drain(spool: &mut Spool) -> Vec<Batch> {
    let mut all = Vec::new();
    while let Some(batch) = spool.front() {
        spool.pop();
        all.push(batch);
    }
    all
}

fn numbers(spool: &mut Spool) -> Vec<u64> {
    drain(spool).iter().map(number).collect()
}

/// The segments of all processes, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in fs::read_dir(folder).unwrap() {
        let files = fs::read_dir(process.unwrap().path()).unwrap().map(|file| file.unwrap().path());
        found.extend(files.filter(|path| path.extension().is_some()));
    }
    found.sort();
    found
}

/// What all files together take of the disk, by their lengths in blocks.
fn used(folder: &Path) -> u64 {
    segments(folder).iter().map(|path| fs::metadata(path).unwrap().len().next_multiple_of(4096)).sum()
}
