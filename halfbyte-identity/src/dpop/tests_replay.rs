//! What was used is used up, whatever the clock does and however many try at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use proptest::collection::vec;
use proptest::prelude::*;

use super::fault::Fault;
use super::replay::{BUCKET, Replays};
use super::{LEEWAY, MOST_AGE};

const NOW: i64 = 1_900_000_005;
const KEY: [u8; 32] = [7; 32];

fn replays(most: usize) -> Replays {
    Replays::new(hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), most)
}

/// Enough that no shard of it is ever full here.
const PLENTY: usize = 1 << 20;

/// One proof of `issued_at` that is sent at `now`.
fn send(replays: &Replays, id: &str, issued_at: i64, now: i64) -> Result<(), Fault> {
    replays.use_up(&KEY, id, issued_at + MOST_AGE + 1, now)
}

#[test]
fn a_proof_is_used_up_by_its_first_use_until_it_is_too_old() {
    let replays = replays(PLENTY);
    for issued_at in [NOW - MOST_AGE, NOW, NOW + LEEWAY] {
        let id = issued_at.to_string();
        assert_eq!(send(&replays, &id, issued_at, NOW), Ok(()));
        for now in NOW..=issued_at + MOST_AGE {
            assert_eq!(send(&replays, &id, issued_at, now), Err(Fault::Used), "{now}");
        }
    }
}

#[test]
fn another_id_and_another_key_make_another_proof_and_a_new_date_does_not() {
    let replays = replays(PLENTY);
    assert_eq!(send(&replays, "a", NOW, NOW), Ok(()));
    assert_eq!(send(&replays, "b", NOW, NOW), Ok(()));
    assert_eq!(replays.use_up(&[8; 32], "a", NOW + MOST_AGE + 1, NOW), Ok(()));
    assert_eq!(send(&replays, "a", NOW + 20, NOW + 20), Err(Fault::Used));
    assert_eq!(send(&replays, "a", NOW + LEEWAY, NOW), Err(Fault::Used));
}

#[test]
fn a_clock_that_is_set_back_does_not_open_the_window_again() {
    let replays = replays(PLENTY);
    assert_eq!(send(&replays, "a", NOW, NOW), Ok(()));
    // Long after, another request makes the memory drop what has expired.
    let later = NOW + 10 * MOST_AGE;
    for other in 0..1000 {
        assert_eq!(send(&replays, &other.to_string(), later, later), Ok(()));
    }
    assert_eq!(replays.len(), 1000, "else the test shows nothing");
    for back in [NOW, NOW + 30, NOW + MOST_AGE] {
        assert_eq!(send(&replays, "a", NOW, back), Err(Fault::Used), "{back}");
    }
    assert_eq!(send(&replays, "0", later, later - 5), Err(Fault::Used));
}

#[test]
fn a_clock_that_jumped_ahead_and_is_set_right_keeps_nobody_out_for_longer_than_a_window() {
    let replays = replays(PLENTY);
    for id in 0..1000 {
        assert_eq!(send(&replays, &format!("before {id}"), NOW, NOW), Ok(()));
    }
    let tomorrow = NOW + 86_400;
    for id in 0..1000 {
        // A client whose clock is as wrong.
        assert_eq!(send(&replays, &format!("wrong {id}"), tomorrow, tomorrow), Ok(()));
    }
    let back = NOW + LEEWAY;
    for id in 0..1000 {
        assert_eq!(send(&replays, &format!("before {id}"), NOW, back), Err(Fault::Used));
        assert_eq!(send(&replays, &format!("after {id}"), back, back), Ok(()), "{id}");
    }
    for id in 0..1000 {
        assert_eq!(send(&replays, &format!("wrong {id}"), tomorrow, tomorrow), Err(Fault::Used));
    }
}

#[test]
fn a_full_memory_refuses_what_is_new_and_forgets_nothing_until_there_is_room() {
    let replays = replays(128);
    let (mut used, mut refused) = (Vec::new(), Vec::new());
    for id in 0..4000 {
        match send(&replays, &id.to_string(), NOW, NOW) {
            Ok(()) => used.push(id),
            Err(Fault::Full(after)) => refused.push((id, after)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((used.len(), replays.len()), (128, 128));
    assert!(used.iter().all(|id| send(&replays, &id.to_string(), NOW, NOW) == Err(Fault::Used)));
    let (id, after) = refused[0];
    assert!(after > Duration::from_secs(61) && after <= Duration::from_secs(61 + BUCKET.unsigned_abs()), "{after:?}");
    let almost = NOW + i64::try_from(after.as_secs()).expect("small") - 1;
    assert_eq!(send(&replays, &id.to_string(), almost, almost), Err(Fault::Full(Duration::from_secs(1))));
    assert_eq!(send(&replays, &id.to_string(), almost + 1, almost + 1), Ok(()));
}

#[test]
fn what_has_expired_takes_no_room() {
    let replays = replays(PLENTY);
    for second in 0..2000 {
        let now = NOW + second;
        for id in 0..10 {
            assert_eq!(send(&replays, &format!("{second} {id}"), now, now), Ok(()));
        }
    }
    // Each shard drops when it is next asked, so that a little more than the window may be there.
    assert!(replays.len() < 10 * usize::try_from(MOST_AGE + 4 * BUCKET).expect("small"), "{}", replays.len());
}

#[test]
fn one_of_many_who_send_the_same_proof_at_once_succeeds() {
    let replays = replays(PLENTY);
    for round in 0..20 {
        let (accepted, barrier) = (AtomicUsize::new(0), Barrier::new(16));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    if send(&replays, &round.to_string(), NOW, NOW).is_ok() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(accepted.into_inner(), 1);
    }
}

/// What happens next: time goes on by so much, then proof number so is sent, which is so old.
fn steps(by: std::ops::Range<i64>) -> impl Strategy<Value = Vec<(i64, u8, i64)>> {
    vec((by, 0_u8..6, -LEEWAY..=MOST_AGE), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_a_list_of_all_that_was_used(steps in steps(0..40)) {
        let replays = replays(PLENTY);
        let mut list: Vec<(u8, i64)> = Vec::new();
        let mut now = NOW;
        for (by, id, age) in steps {
            now += by;
            let expires = now - age + MOST_AGE + 1;
            // Remembered until the end of its bucket.
            let is_used = list.iter().any(|(used, end)| *used == id && now < *end);
            let expected = if is_used { Err(Fault::Used) } else { Ok(()) };
            prop_assert_eq!(replays.use_up(&KEY, &id.to_string(), expires, now), expected);
            if !is_used {
                list.push((id, (expires / BUCKET + 1) * BUCKET));
            }
        }
    }

    #[test]
    fn no_clock_makes_it_accept_a_proof_twice_or_refuse_what_is_newer_than_all_it_knew(steps in steps(-200..200)) {
        let replays = replays(PLENTY);
        let mut accepted: Vec<(u8, i64)> = Vec::new();
        let mut now = NOW;
        for (by, id, age) in steps {
            now += by;
            let expires = now - age + MOST_AGE + 1;
            let is_new = !accepted.iter().any(|(used, _)| *used == id)
                && accepted.iter().all(|(_, other)| *other / BUCKET < expires / BUCKET);
            match replays.use_up(&KEY, &id.to_string(), expires, now) {
                Ok(()) => {
                    prop_assert!(!accepted.contains(&(id, expires)), "accepted twice");
                    accepted.push((id, expires));
                }
                Err(fault) => prop_assert!(fault == Fault::Used && !is_new, "{fault:?}"),
            }
        }
    }
}
