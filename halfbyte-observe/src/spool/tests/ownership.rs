//! Whose folder it is, and who may see into it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::sync::Barrier;
use std::thread;

use super::super::Spool;
use super::*;

#[test]
fn folders_are_0700_and_files_0600() {
    let parent = private();
    let folder = parent.path().join("telemetry/traces");
    let mut spool = Spool::open(&folder, ROOMY).unwrap();
    spool.push(&batch(0, 1, 100)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder.parent().unwrap()), mode(&folder)), (0o700, 0o700));
    let process = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&process), 0o700);
    let files: Vec<_> = fs::read_dir(process).unwrap().map(|file| mode(&file.unwrap().path())).collect();
    assert_eq!(files, [0o600, 0o600]);
}

#[test]
fn a_folder_that_others_may_read_and_a_link_are_refused() {
    let parent = private();
    let (open, link) = (parent.path().join("open"), parent.path().join("link"));
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    let error = Spool::open(&open, ROOMY).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
    symlink(&open, &link).unwrap();
    let error = Spool::open(&link, ROOMY).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0, "nothing was put behind it");
}

#[test]
fn a_folder_of_another_user_is_refused_and_that_of_one_in_ours_left_alone() {
    let parent = private();
    let folder = parent.path().join("traces");
    let mut spool = Spool::open(&folder, ROOMY).unwrap();
    spool.push(&batch(0, 1, 100)).unwrap();
    drop(spool);
    let process = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    if let Err(error) = chown(&process, Some(12345), None) {
        // Only root can give a folder away; for anybody else the system refuses what is another's.
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        return;
    }
    let mut spool = Spool::open(&folder, ROOMY).unwrap();
    assert_eq!((spool.items(), spool.front()), (0, None));
    drop(spool);
    assert!(process.exists());

    chown(&folder, Some(12345), None).unwrap();
    let error = Spool::open(&folder, ROOMY).unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing was left in it");
}

#[test]
fn links_in_it_are_not_followed() {
    let parent = private();
    let (theirs, ours) = (parent.path().join("theirs"), parent.path().join("ours"));
    let mut spool = Spool::open(&theirs, ROOMY).unwrap();
    spool.push(&batch(0, 1, 100)).unwrap();
    drop(spool);
    drop(Spool::open(&ours, ROOMY).unwrap());
    let process = fs::read_dir(&theirs).unwrap().next().unwrap().unwrap();
    symlink(process.path(), ours.join(process.file_name())).unwrap();
    assert_eq!(Spool::open(&ours, ROOMY).unwrap().items(), 0);
    assert_eq!(numbers(&mut Spool::open(&theirs, ROOMY).unwrap()), [0]);
}

#[test]
fn one_that_lives_is_not_adopted() {
    let folder = private();
    let mut first = Spool::open(folder.path(), ROOMY).unwrap();
    first.push(&batch(0, 1, 100)).unwrap();
    let mut second = Spool::open(folder.path(), ROOMY).unwrap();
    second.push(&batch(1, 1, 100)).unwrap();
    assert_eq!((numbers(&mut first), numbers(&mut second)), (vec![0], vec![1]));
}

#[test]
fn what_a_newer_program_left_stays() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.push(&batch(0, 1, 100)).unwrap();
    drop(spool);
    let segment = segments(folder.path()).remove(0);
    let newer = segment.with_extension("v2");
    fs::copy(&segment, &newer).unwrap();
    assert_eq!(numbers(&mut Spool::open(folder.path(), ROOMY).unwrap()), [0]);
    assert!(newer.exists());
}

#[test]
fn of_many_that_adopt_at_once_each_batch_goes_to_one() {
    let folder = private();
    for round in 0..10 {
        // All live at once, or each would adopt the one before.
        let mut left: Vec<_> = (0..20).map(|_| Spool::open(folder.path(), ROOMY).unwrap()).collect();
        for (number, spool) in (0..).zip(&mut left) {
            spool.push(&batch(number, 1, 100)).unwrap();
        }
        drop(left);
        let start = Barrier::new(4);
        let mut all: Vec<u64> = thread::scope(|scope| {
            let adopt = || {
                start.wait();
                let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
                // Nobody leaves before all have looked.
                start.wait();
                assert_eq!(spool.take_corrupt(), 0);
                numbers(&mut spool)
            };
            let adopters: Vec<_> = (0..4).map(|_| scope.spawn(adopt)).collect();
            adopters.into_iter().flat_map(|adopter| adopter.join().unwrap()).collect()
        });
        // What one adopter held at that moment, another one could not take.
        all.extend(numbers(&mut Spool::open(folder.path(), ROOMY).unwrap()));
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>(), "round {round}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_one_leaves_that_went_later_is_adopted_on_request_and_comes_next() {
    let folder = private();
    for (own, shown, expected) in [
        (0, false, vec![1, 2]),
        (2, false, vec![1, 2, 10, 11]),
        (1, true, vec![10, 1, 2]),
        (2, true, vec![10, 1, 2, 11]),
    ] {
        let mut old = Spool::open(folder.path(), ROOMY).unwrap();
        let mut new = Spool::open(folder.path(), ROOMY).unwrap();
        for number in 0..own {
            // Each has a segment of its own.
            new.push(&batch(10 + number, 1, 1 << 20)).unwrap();
        }
        if shown {
            assert_eq!(number(&new.front().unwrap()), 10);
        }
        old.push(&batch(1, 3, 100)).unwrap();
        old.push(&batch(2, 4, 100)).unwrap();
        assert_eq!(new.adopt().unwrap(), (0, 0), "the other one lives");
        drop(old);
        assert_eq!(new.adopt().unwrap(), (7, 0));
        assert_eq!((new.items(), new.trim(), new.adopt().unwrap()), (own + 7, 0, (0, 0)));
        new.push(&batch(20, 1, 100)).unwrap();
        assert_eq!(numbers(&mut new), [expected, vec![20]].concat());
    }
}
