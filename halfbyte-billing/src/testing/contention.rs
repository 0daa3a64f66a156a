use std::time::Duration;

use super::fresh::Fresh;
use super::parcel::{
    DAY, MINUTE, NO_TIME, Parcel, ask, at, check, daily, events, give_back, leases, lot, lots, process, releases,
    reservation, using, void,
};
use super::support::{number, tenant};
use crate::ledger::LotSpec;
use crate::store::{Committed, LeaseAsk, Leased, Outcome, Units, balance, owners};

/// Does `second` in another session while `first` is not committed yet, which it has to wait for.
async fn both(fresh: &Fresh, first: &Parcel, second: &Parcel) -> [Committed; 2] {
    let (mut one, mut two) = (fresh.session().await, fresh.session().await);
    one.begin().await.unwrap();
    let done = first.within(&mut *one).await;
    let mut waiting = std::pin::pin!(second.commit(&mut *two));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    one.commit().await.unwrap();
    [done, waiting.await]
}

pub(super) async fn the_last_unit_is_leased_once(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for number in 1..=2 {
        owners::heartbeat(session, process(number).owner, MINUTE).await.unwrap();
    }
    // The lot is made by both, too.
    let specs = [lot("a", 1)];
    let parcel = |number| leases(vec![ask(process(number), Units::Tranche { least: 1, waiting: 5 }, &specs)]);
    let [first, second] = both(&fresh, &parcel(1), &parcel(2)).await;
    assert_eq!(first.leased, [Leased { units: 1, left: 0 }]);
    assert_eq!(second.leased, [Leased { units: 0, left: 0 }]);
    assert_eq!(lots(session).await, "a 1 0 1");
    // And when it is there already, and one burns while another leases.
    releases(vec![give_back(process(1), None)]).commit(session).await;
    let burning = events(vec![using("1", 1, None, &specs)]);
    let [_, leased] = both(&fresh, &burning, &parcel(2)).await;
    assert_eq!(leased.leased, [Leased { units: 0, left: 0 }]);
    let [_, burned] = both(&fresh, &events(vec![void("2", "1", 10)]), &events(vec![using("3", 2, None, &specs)])).await;
    assert_eq!(burned.outcomes, [Outcome::Counted { overage: 1 }]);
    assert_eq!(lots(session).await, "a 1 1 0");
    check(session).await;
}

pub(super) async fn a_lot_that_two_make_at_once_takes_over_once(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();
    owners::heartbeat(session, process(2).owner, MINUTE).await.unwrap();
    let parcel = |number, day: i64| Parcel {
        now: day * DAY + 10,
        leases: vec![ask(process(number), Units::Exactly(150), &[daily(day, 100)])],
        ..Parcel::default()
    };
    // Before anybody made them, they are shown as they would be made.
    let shown = balance(session, &tenant("acme"), "calls", &[daily(2, 100)], at(2 * DAY)).await.unwrap();
    assert_eq!((shown.available, shown.lots[0].carried), (300, 200));

    let [first, second] = both(&fresh, &parcel(1, 2), &parcel(2, 3)).await;
    assert_eq!(first.leased, [Leased { units: 150, left: 150 }]);
    assert_eq!(second.leased, [Leased { units: 150, left: 100 }]);
    assert_eq!(lots(session).await, "plan/0 0 0 0, plan/1 0 0 0, plan/2 150 0 150, plan/3 250 0 150");
    let [first, second] = both(&fresh, &parcel(1, 5), &parcel(2, 5)).await;
    assert_eq!(first.leased, [Leased { units: 150, left: 150 }]);
    assert_eq!(second.leased, [Leased { units: 150, left: 0 }]);
    let shown = balance(session, &tenant("acme"), "calls", &[daily(5, 100)], at(5 * DAY)).await.unwrap();
    assert_eq!((shown.available, shown.lots[0].held, shown.lots.len()), (0, 300, 1));
    check(session).await;
}

pub(super) async fn a_plan_that_changes_while_others_lease(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for number in 1..=3 {
        owners::heartbeat(session, process(number).owner, MINUTE).await.unwrap();
    }
    let parcel = |number, amount, now| Parcel {
        now,
        ..leases(vec![ask(process(number), Units::Exactly(60), &[lot("a", amount)])])
    };
    let [first, second] = both(&fresh, &parcel(1, 100, 10), &parcel(2, 50, 20)).await;
    assert_eq!(first.leased, [Leased { units: 60, left: 40 }]);
    assert_eq!(second.leased, [Leased { units: 0, left: 0 }]);
    assert_eq!(lots(session).await, "a 50 0 60");
    // Who is behind does not undo it.
    let behind = parcel(3, 100, 15).commit(session).await;
    assert_eq!(behind.leased, [Leased { units: 0, left: 0 }]);
    // What is held can be used, and is not more than was promised when it was leased.
    let used = Parcel { now: 30, ..events(vec![using("1", 60, Some(process(1)), &[lot("a", 50)])]) };
    assert_eq!(used.commit(session).await.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(lots(session).await, "a 50 60 0");
    check(session).await;
}

pub(super) async fn who_settles_while_it_is_reclaimed_burns_what_is_there(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 10)];
    let short = LeaseAsk { expires_in: Some(NO_TIME), ..ask(reservation(8), Units::Exactly(6), &specs) };
    leases(vec![short]).commit(session).await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();

    let (mut one, mut two) = (fresh.session().await, fresh.session().await);
    one.begin().await.unwrap();
    assert_eq!(owners::reclaim(&mut *one, true).await.unwrap().units, 6);
    let settle = Parcel {
        releases: vec![give_back(reservation(8), None)],
        leases: vec![ask(process(1), Units::Exactly(5), &specs)],
        ..events(vec![using("1", 6, Some(reservation(8)), &specs)])
    };
    let mut waiting = std::pin::pin!(settle.commit(&mut *two));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    one.commit().await.unwrap();
    let settled = waiting.await;
    assert_eq!(settled.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(settled.leased, [Leased { units: 0, left: 4 }]);
    assert_eq!(lots(session).await, "a 10 6 0");
    check(session).await;
}

pub(super) async fn many_at_once_never_use_more_than_there_is(fresh: Fresh) {
    const ROUNDS: u8 = 25;
    let specs: Vec<_> =
        (0..4).map(|number| LotSpec { priority: number, ..lot(&format!("lot/{number}"), 60) }).collect();
    let worker = async |number: u8| {
        let session = &mut *fresh.session().await;
        let mut used = 0_u64;
        for round in 0..ROUNDS {
            let me = process(u128::from(number) + 1);
            let other = reservation(1000 * u128::from(number) + u128::from(round) + 100);
            owners::heartbeat(session, me.owner, if round % 3 == 0 { NO_TIME } else { MINUTE }).await.unwrap();
            // Each names the lots in another order, and not always all.
            let mut mine = specs.clone();
            mine.rotate_left((usize::from(number) + usize::from(round)) % 4);
            mine.truncate(1 + usize::from(round) % 4);
            let leased = leases(vec![
                ask(me, Units::Tranche { least: 1, waiting: 2 }, &mine),
                ask(other, Units::Exactly(1), &mine),
            ]);
            let leased = leased.commit(session).await.leased[0].units;
            let entry = using(&format!("{number}/{round}"), leased.min(3), Some(me), &[]);
            let spend = Parcel { releases: vec![give_back(me, Some(u64::from(round % 3)))], ..events(vec![entry]) };
            for outcome in spend.commit(session).await.outcomes {
                let Outcome::Counted { overage } = outcome else { panic!("{outcome:?}") };
                used += leased.min(3) - overage;
            }
            session.begin().await.unwrap();
            owners::reclaim(session, true).await.unwrap();
            session.commit().await.unwrap();
        }
        used
    };
    let (a, b, c, d) = tokio::join!(worker(0), worker(1), worker(2), worker(3));
    let session = &mut *fresh.session().await;
    let burned = number(session, "SELECT CAST(sum(burned) AS INTEGER) FROM lots").await;
    assert_eq!(u64::try_from(burned).unwrap(), a + b + c + d);
    assert_eq!(number(session, "SELECT count(*) FROM lots WHERE burned + held > amount").await, 0);
    assert!(burned > 100, "only {burned} units were used");
    check(session).await;
}
