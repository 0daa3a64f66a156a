//! The backlog on disk and in memory.

use bytes::Bytes;

use crate::export::backlog::Backlog;
use crate::spool::Batch;

fn batch(number: u8, bytes: usize) -> Batch {
    Batch { items: u64::from(number), payload: Bytes::from(vec![number; bytes]) }
}

/// All that is in it, by their first bytes, taken out.
pub(super) fn drained(backlog: &mut Backlog) -> Vec<u8> {
    std::iter::from_fn(|| {
        let front = backlog.front()?;
        backlog.pop();
        Some(front.payload[0])
    })
    .collect()
}

#[test]
fn in_memory_the_oldest_makes_room_except_for_the_one_that_is_held() {
    let mut backlog = Backlog::in_memory(30);
    assert_eq!((1..=3).map(|number| backlog.push(batch(number, 10))).sum::<u64>(), 0);
    assert_eq!(backlog.push(batch(4, 10)), 1);
    assert_eq!(backlog.front().unwrap().items, 2);
    assert_eq!(backlog.push(batch(5, 10)), 3);
    assert_eq!((backlog.items(), backlog.safe()), (2 + 4 + 5, 0));
    backlog.pop();
    assert_eq!(drained(&mut backlog), [4, 5]);
    backlog.pop();
    assert_eq!(backlog.items(), 0);
}

#[test]
fn what_a_disk_does_not_take_is_held_in_memory_behind_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::on_disk(&home.path().join("spool"), 4096).unwrap();
    backlog.push(batch(1, 10));
    // Larger than the disk may ever take.
    backlog.push(batch(2, 5000));
    backlog.push(batch(3, 10));
    assert_eq!((backlog.safe(), backlog.items(), backlog.is_safe()), (1, 6, false));
    assert_eq!(backlog.front().unwrap().items, 1);
    backlog.pop();
    assert_eq!(backlog.front().unwrap().items, 2);
    backlog.pop();
    assert_eq!(backlog.front().unwrap().items, 3);
    // Held, it is not moved, though it would fit, and nothing overtakes it.
    backlog.push(batch(4, 10));
    assert_eq!((backlog.safe(), backlog.items()), (0, 7));
    backlog.pop();
    backlog.push(batch(5, 10));
    assert!(backlog.is_safe(), "what is left fits");
    assert_eq!(drained(&mut backlog), [4, 5]);
}

#[test]
fn when_it_closes_what_fits_goes_to_disk_and_the_rest_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::on_disk(&home.path().join("spool"), 4096).unwrap();
    backlog.push(batch(1, 10));
    backlog.push(batch(2, 5000));
    backlog.push(batch(3, 10));
    backlog.front();
    assert_eq!(backlog.close(), (0, 2), "only the one that no disk takes is lost");
    drop(backlog);
    let mut next = Backlog::on_disk(&home.path().join("spool"), 4096).unwrap();
    assert_eq!(next.items(), 4);
    assert_eq!(drained(&mut next), [1, 3]);

    let mut memory = Backlog::in_memory(100);
    memory.push(batch(7, 10));
    assert_eq!(memory.close(), (0, 7));
}

#[test]
fn what_is_adopted_over_the_cap_goes_oldest_first_except_for_the_one_that_is_held() {
    // Each batch is a segment, which takes a block.
    let cap = 10 * 4096;
    for (held, evicted, left) in [
        (false, 1 + 2 + 3, vec![4, 5, 6, 7, 11, 12, 13, 14, 15, 16]),
        (true, 1 + 2, vec![11, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("spool");
        let [mut theirs, mut ours] = [(); 2].map(|()| Backlog::on_disk(&folder, cap).unwrap());
        assert_eq!((1..=7).map(|number| theirs.push(batch(number, 3000))).sum::<u64>(), 0);
        assert_eq!((11..=16).map(|number| ours.push(batch(number, 3000))).sum::<u64>(), 0);
        assert_eq!(ours.adopt(), None, "the other one lives");
        if held {
            assert_eq!(ours.front().unwrap().items, 11);
        }
        drop(theirs);
        assert_eq!(ours.adopt(), Some(0));
        assert_eq!(ours.items(), 28 + 81);
        assert_eq!((ours.trim(), ours.trim()), (evicted, 0));
        let in_memory = if held { 11 } else { 0 };
        assert_eq!((ours.items(), ours.safe()), (109 - evicted, 109 - evicted - in_memory));
        let processes = std::fs::read_dir(&folder).unwrap().map(|process| process.unwrap().path());
        let files = processes.flat_map(|process| std::fs::read_dir(process).unwrap());
        let sizes = files.map(|file| file.unwrap().metadata().unwrap().len().next_multiple_of(4096));
        assert_eq!(sizes.sum::<u64>(), cap, "all of the cap is used, and no more");
        assert_eq!(drained(&mut ours), left);
        assert_eq!((ours.items(), ours.safe()), (0, 0));
    }
}

#[test]
fn what_is_held_and_had_to_make_room_is_told_when_it_ends_with_the_process() {
    let home = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::on_disk(&home.path().join("spool"), 2 * 4096).unwrap();
    backlog.push(batch(1, 3000));
    backlog.front();
    assert_eq!((2..=4).map(|number| backlog.push(batch(number, 3000))).sum::<u64>(), 2);
    assert_eq!((backlog.items(), backlog.safe()), (1 + 3 + 4, 3 + 4));
    assert_eq!(backlog.close(), (1, 0));
    assert_eq!((backlog.items(), backlog.safe()), (7, 7));
    drop(backlog);
    assert_eq!(drained(&mut Backlog::on_disk(&home.path().join("spool"), 2 * 4096).unwrap()), [3, 4]);
}
