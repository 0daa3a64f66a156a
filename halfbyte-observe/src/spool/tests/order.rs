//! What comes out, in which order, and what goes when there is no room.

use std::io;

use super::super::Spool;
use super::*;

#[test]
fn batches_come_in_the_order_in_which_they_were_pushed_and_stay_until_popped() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    for number in 0..3 {
        assert_eq!(spool.push(&batch(number, 10, 100)).unwrap(), 0);
    }
    assert_eq!(spool.items(), 30);
    assert_eq!(spool.front(), Some(batch(0, 10, 100)));
    assert_eq!(spool.front(), Some(batch(0, 10, 100)));
    spool.pop();
    spool.pop();
    assert_eq!(spool.items(), 20, "what nobody has looked at is not popped");
    spool.push(&batch(3, 10, 100)).unwrap();
    assert_eq!(numbers(&mut spool), [1, 2, 3]);
    assert_eq!((spool.items(), spool.take_corrupt()), (0, 0));
}

#[test]
fn what_was_left_comes_first_and_what_was_popped_does_not_come_again() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    for number in 0..5 {
        spool.push(&batch(number, 1, 100)).unwrap();
    }
    for _ in 0..2 {
        spool.front().unwrap();
        spool.pop();
    }
    spool.front().unwrap();
    drop(spool);

    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.items(), 3);
    spool.push(&batch(5, 1, 100)).unwrap();
    drop(spool);
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(numbers(&mut spool), [2, 3, 4, 5]);
    assert_eq!(spool.take_corrupt(), 0);
}

#[test]
fn a_spool_that_is_empty_leaves_nothing_behind() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.push(&batch(0, 1, 100)).unwrap();
    assert_eq!(numbers(&mut spool), [0]);
    drop(spool);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_oldest_goes_so_that_the_files_stay_below_the_cap() {
    let folder = private();
    let cap = 512 * 1024;
    let mut spool = Spool::open(folder.path(), cap).unwrap();
    let mut evicted = 0;
    for number in 0..1000 {
        evicted += spool.push(&batch(number, 7, 3000)).unwrap();
        assert!(used(folder.path()) <= cap, "after {number}: {}", used(folder.path()));
        assert_eq!(spool.items() + evicted, 7 * (number + 1));
    }
    assert!(used(folder.path()) > cap * 3 / 4, "{} of {cap} are used", used(folder.path()));
    let left = numbers(&mut spool);
    assert_eq!(left, (evicted / 7..1000).collect::<Vec<_>>());
}

#[test]
fn the_cap_is_over_what_is_adopted_too_and_the_next_push_says_what_went() {
    let folder = private();
    for process in 0..4 {
        let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
        for number in 0..50 {
            spool.push(&batch(process * 50 + number, 1, 3000)).unwrap();
        }
    }
    let cap = 256 * 1024;
    let mut spool = Spool::open(folder.path(), cap).unwrap();
    assert!(used(folder.path()) <= cap);
    let before = spool.items();
    let evicted = spool.push(&batch(200, 1, 10)).unwrap();
    assert!(evicted >= 200 - before && before > 0, "{before} left, {evicted} gone");
    assert_eq!(numbers(&mut spool), (evicted..201).collect::<Vec<_>>());
}

#[test]
fn what_was_shown_stays_until_it_is_popped_though_its_file_has_to_go() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), 64 * 1024).unwrap();
    for number in 0..10 {
        spool.push(&batch(number, 1, 3000)).unwrap();
    }
    assert_eq!(number(&spool.front().unwrap()), 0);
    let evicted: u64 = (10..100).map(|number| spool.push(&batch(number, 1, 3000)).unwrap()).sum();
    assert_eq!(number(&spool.front().unwrap()), 0);
    assert_eq!(spool.items() + evicted, 100);
    spool.pop();
    assert_eq!(spool.items() + evicted, 99);
    assert_eq!(numbers(&mut spool), (evicted + 1..100).collect::<Vec<_>>());
}

#[test]
fn a_batch_that_alone_is_over_the_cap_is_refused_and_nothing_goes_for_it() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), 64 * 1024).unwrap();
    spool.push(&batch(0, 1, 10)).unwrap();
    let error = spool.push(&batch(1, 1, 64 * 1024)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!(spool.push(&batch(2, 1, 60 * 1024)).unwrap(), 1, "one that just fits is taken");
    assert_eq!(numbers(&mut spool), [2]);
}

#[test]
fn batches_larger_than_a_segment_and_empty_ones_are_kept() {
    let folder = private();
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.push(&batch(0, 1, 3_000_000)).unwrap();
    spool.push(&Batch { items: 0, payload: bytes::Bytes::new() }).unwrap();
    spool.push(&batch(2, 1, 3_000_000)).unwrap();
    drop(spool);
    let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
    let all = drain(&mut spool);
    assert_eq!(all.iter().map(|batch| batch.payload.len()).collect::<Vec<_>>(), [3_000_000, 0, 3_000_000]);
    assert_eq!(spool.take_corrupt(), 0);
}
