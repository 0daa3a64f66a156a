//! Files that are not what was written: every byte, every length.

use std::path::{Path, PathBuf};

use halfbyte_core::home::Home;

use super::super::Spool;
use super::*;

/// So many items has batch `number`: each another, so that a wrong count shows.
fn items(number: u64) -> u64 {
    1 << number
}

/// A spool whose process is gone, of three segments with six batches; the first batch is popped.
fn left(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut spool = Spool::open(folder, 64 * 1024).unwrap();
    for number in 0..6 {
        // Two in each.
        spool.push(&batch(number, items(number), 4000)).unwrap();
    }
    spool.front().unwrap();
    spool.pop();
    drop(spool);
    let files: Vec<_> = segments(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert_eq!(files.len(), 3);
    files
}

/// Puts these files there, and nothing else.
fn restore(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(folder).unwrap();
    for (path, content) in files {
        Home::open(path.parent().unwrap()).unwrap();
        put(path, content);
    }
}

/// Makes the file anew: some file systems wait for the disk when one is emptied and written.
fn put(path: &Path, content: &[u8]) {
    _ = fs::remove_file(path);
    fs::write(path, content).unwrap();
}

/// Opens, reads everything, and answers which batches there were and how many items were lost. Each batch is as it was
/// pushed, they are in order, and the counts agree at every step.
fn read(folder: &Path) -> (Vec<u64>, u64) {
    let mut spool = Spool::open(folder, ROOMY).unwrap();
    let mut lost = spool.take_corrupt();
    let total = spool.items();
    let mut read = Vec::new();
    while let Some(next) = spool.front() {
        let number = number(&next);
        assert_eq!(next, batch(number, items(number), 4000));
        spool.pop();
        read.push(number);
        let corrupt = spool.take_corrupt();
        lost += corrupt;
    }
    let later = spool.take_corrupt();
    lost += later;
    assert_eq!(spool.items(), 0);
    let taken: u64 = read.iter().copied().map(items).sum();
    assert!(taken <= total);
    assert!(read.is_sorted());
    assert!(segments(folder).is_empty(), "what was read or is corrupt is gone");
    (read, lost)
}

/// Every byte of headers and cursors, and some of the payloads, which are all alike.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let (cursor, record) = (20, 32 + 4000);
    (0..len).filter(move |place| {
        let within = place.saturating_sub(cursor) % record;
        *place < cursor || within < 40 || within % 500 == 0 || within == record - 1
    })
}

#[test]
fn a_byte_flipped_anywhere_costs_the_one_batch_that_it_is_in_and_the_count_is_exact() {
    let folder = private();
    let spool = folder.path().join("spool");
    let files = left(&spool);
    for (file, (path, content)) in files.iter().enumerate() {
        for place in places(content.len()) {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = content.clone();
                damaged[place] ^= flip;
                restore(&spool, &files);
                put(path, &damaged);
                let (read, lost) = read(&spool);
                let what = format!("byte {place} of file {file} flipped by {flip}");
                if place < 20 {
                    // How far it was read is not known any more: the popped one comes again.
                    let from = if file == 0 { 0 } else { 1 };
                    assert_eq!((read, lost), ((from..6).collect(), 0), "{what}");
                    continue;
                }
                let damaged = 2 * file as u64 + ((place - 20) / 4032) as u64;
                let expected: Vec<u64> = (1..6).filter(|number| *number != damaged).collect();
                assert_eq!(read, expected, "{what}");
                let last_header = damaged == 5 && (place - 20) % 4032 < 32;
                // Behind the last header nothing tells how many items it was about.
                let count = if damaged == 0 {
                    0
                } else if last_header {
                    1
                } else {
                    items(damaged)
                };
                assert_eq!(lost, count, "{what}");
            }
        }
    }
}

#[test]
fn a_file_cut_at_any_length_costs_what_is_behind_and_the_count_is_exact() {
    let folder = private();
    let spool = folder.path().join("spool");
    let files = left(&spool);
    for (file, (path, content)) in files.iter().enumerate() {
        for len in places(content.len()) {
            restore(&spool, &files);
            put(path, &content[..len]);
            let (read, lost) = read(&spool);
            let what = format!("file {file} cut at {len}");
            let whole = 2 * file as u64 + (len.saturating_sub(20) / 4032) as u64;
            let cut = |number: &u64| (whole..2 * file as u64 + 2).contains(number);
            // The first file without what says how far it was read.
            let from = if file == 0 && len < 20 + 4032 { 0 } else { 1 };
            let expected: Vec<u64> = (from..6).filter(|number| !cut(number)).collect();
            assert_eq!(read, expected, "{what}");
            let within = len.saturating_sub(20) % 4032;
            let gone: u64 = (from..6).filter(cut).map(items).sum();
            let count = match file {
                // Behind it nothing tells, but the header where it is still there.
                2 if len <= 20 || within == 0 => 0,
                2 if within < 32 => 1,
                2 => items(whole),
                _ => gone,
            };
            assert_eq!(lost, count, "{what}");
        }
    }
}

#[test]
fn a_file_that_is_gone_or_that_is_none_of_its_own_does_not_keep_the_others_from_being_read() {
    let folder = private();
    let spool = folder.path().join("spool");
    let files = left(&spool);
    fs::remove_file(&files[1].0).unwrap();
    assert_eq!(read(&spool), (vec![1, 4, 5], items(2) + items(3)));

    // The records of one file under the name of another are not believed.
    restore(&spool, &files);
    put(&files[1].0, &files[2].1);
    assert_eq!(read(&spool), (vec![1, 4, 5], items(2) + items(3)));

    restore(&spool, &files);
    put(&files[1].0, &vec![0; 1024 * 1024]);
    assert_eq!(read(&spool), (vec![1, 4, 5], items(2) + items(3)));
}

#[test]
fn what_is_damaged_while_the_spool_is_open_is_counted_once() {
    let folder = private();
    let path = folder.path().join("spool");
    for place in [60, 20] {
        let mut spool = Spool::open(&path, ROOMY).unwrap();
        for number in 0..3 {
            spool.push(&batch(number, items(number), 4000)).unwrap();
        }
        let file = segments(&path).remove(0);
        let mut content = fs::read(&file).unwrap();
        content[place + 4032] ^= 1;
        fs::write(&file, content).unwrap();
        assert_eq!(numbers(&mut spool), [0, 2]);
        assert_eq!((spool.take_corrupt(), spool.take_corrupt(), spool.items()), (items(1), 0, 0), "byte {place}");
        spool.push(&batch(3, 1, 100)).unwrap();
        assert_eq!(numbers(&mut spool), [3]);
    }
}

#[test]
fn a_file_that_somebody_removed_under_an_open_spool_is_counted_as_lost() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), 64 * 1024).unwrap();
    for number in 0..6 {
        spool.push(&batch(number, items(number), 4000)).unwrap();
    }
    fs::remove_file(&segments(folder.path())[1]).unwrap();
    assert_eq!(numbers(&mut spool), [0, 1, 4, 5]);
    assert_eq!((spool.take_corrupt(), spool.items()), (items(2) + items(3), 0));
}
