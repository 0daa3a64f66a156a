use super::fresh::Fresh;
use super::parcel::{
    MINUTE, NO_TIME, Parcel, ask, check, events, give_back, leases, lot, lots, process, releases, reservation, using,
};
use super::support::{number, tenant};
use crate::store::owners::{self, Beat};
use crate::store::{Holder, LeaseAsk, Leased, Outcome, Units};

pub(super) async fn leases_of_one_batch_see_what_earlier_ones_took(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for number in 1..=3 {
        owners::heartbeat(session, process(number).owner, MINUTE).await.unwrap();
    }
    let specs = [lot("a", 80)];
    let asks = vec![
        ask(process(1), Units::Tranche { least: 1, waiting: 1 }, &specs),
        ask(process(2), Units::Exactly(71), &specs),
        ask(process(2), Units::Exactly(70), &specs),
        ask(process(3), Units::Tranche { least: 1, waiting: 1 }, &specs),
    ];
    let committed = leases(asks).commit(session).await;
    let leased: Vec<_> = committed.leased.iter().map(|leased| (leased.units, leased.left)).collect();
    assert_eq!(leased, [(10, 70), (0, 70), (70, 0), (0, 0)]);
    // What is given back in a batch is there for its leases.
    let again = vec![ask(process(3), Units::Exactly(10), &specs)];
    let parcel = Parcel { now: 10, releases: vec![give_back(process(1), None)], leases: again, ..Parcel::default() };
    assert_eq!(parcel.commit(session).await.leased, [Leased { units: 10, left: 0 }]);
    assert_eq!(owners::held_of(session, process(3)).await.unwrap(), 10);
    check(session).await;
}

pub(super) async fn an_owner_that_is_not_known_leases_nothing(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let asking = leases(vec![ask(process(1), Units::Tranche { least: 1, waiting: 1 }, &[lot("a", 80)])]);
    let committed = asking.commit(session).await;
    assert_eq!(committed.leased, [Leased { units: 0, left: 80 }]);
    assert_eq!(owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap(), Beat::Anew);
    let committed = asking.commit(session).await;
    assert_eq!(committed.leased, [Leased { units: 10, left: 70 }]);
    check(session).await;
}

pub(super) async fn a_reservation_expires_by_itself(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 10)];
    let lasting = ask(reservation(7), Units::Exactly(4), &specs);
    let short = LeaseAsk { expires_in: Some(NO_TIME), ..ask(reservation(8), Units::Exactly(6), &specs) };
    leases(vec![lasting, short]).commit(session).await;
    assert_eq!(owners::stranded(session).await.unwrap(), [(tenant("acme"), "calls".into(), 6)]);

    session.begin().await.unwrap();
    let reclaimed = owners::reclaim(session, true).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!((reclaimed.owners, reclaimed.units, reclaimed.more), (1, 6, false));
    assert_eq!(lots(session).await, "a 10 0 4");
    assert_eq!(owners::stranded(session).await.unwrap(), []);
    assert_eq!(owners::owners(session).await.unwrap().into_iter().collect::<Vec<_>>(), [reservation(7).owner]);

    // Work that goes on nevertheless burns what there is, and what there is not is overage.
    let settle = Parcel {
        releases: vec![give_back(reservation(8), None)],
        ..events(vec![using("1", 8, Some(reservation(8)), &specs)])
    };
    assert_eq!(settle.commit(session).await.outcomes, [Outcome::Counted { overage: 2 }]);
    assert_eq!(lots(session).await, "a 10 6 4");
    check(session).await;
}

pub(super) async fn a_reservation_that_ends_is_forgotten(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 10)];
    let asks = vec![ask(reservation(7), Units::Exactly(4), &specs), ask(reservation(8), Units::Exactly(7), &specs)];
    let committed = leases(asks).commit(session).await;
    assert_eq!(committed.leased, [Leased { units: 4, left: 6 }, Leased { units: 0, left: 6 }]);
    assert_eq!(number(session, "SELECT count(*) FROM owners").await, 1);
    let settle = Parcel {
        releases: vec![give_back(reservation(7), None)],
        ..events(vec![using("1", 1, Some(reservation(7)), &specs)])
    };
    settle.commit(session).await;
    assert_eq!(lots(session).await, "a 10 1 0");
    assert_eq!(number(session, "SELECT count(*) FROM owners").await, 0);

    // Who still holds something of another feature stays.
    let other = LeaseAsk { feature: "seats".into(), ..ask(reservation(9), Units::Exactly(1), &specs) };
    leases(vec![ask(reservation(9), Units::Exactly(1), &specs), other]).commit(session).await;
    releases(vec![give_back(reservation(9), None)]).commit(session).await;
    assert_eq!(number(session, "SELECT count(*) FROM owners").await, 1);
    check(session).await;
}

pub(super) async fn owners_that_live_keep_what_they_hold(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for (number, ttl) in [(1, NO_TIME), (2, NO_TIME), (3, MINUTE)] {
        assert_eq!(owners::heartbeat(session, process(number).owner, ttl).await.unwrap(), Beat::Anew);
    }
    let specs = [lot("a", 10)];
    let asks = (1..=3).map(|number| ask(process(number), Units::Exactly(2), &specs)).collect();
    leases(asks).commit(session).await;
    // One that was late, but not too late.
    assert_eq!(owners::heartbeat(session, process(2).owner, MINUTE).await.unwrap(), Beat::Alive);
    session.begin().await.unwrap();
    let reclaimed = owners::reclaim(session, true).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!((reclaimed.owners, reclaimed.units), (1, 2));
    assert_eq!(owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap(), Beat::Anew);
    assert_eq!(owners::held_of(session, process(1)).await.unwrap(), 0);
    assert_eq!(owners::held_of(session, process(2)).await.unwrap(), 2);

    session.begin().await.unwrap();
    assert_eq!(owners::forget(session, process(2).owner).await.unwrap(), 2);
    assert_eq!(owners::forget(session, process(2).owner).await.unwrap(), 0);
    session.commit().await.unwrap();
    assert_eq!(lots(session).await, "a 10 0 2");
    check(session).await;
}

pub(super) async fn the_last_uses_of_a_process_that_is_gone_are_counted(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for number in 1..=2 {
        owners::heartbeat(session, process(number).owner, MINUTE).await.unwrap();
    }
    let gone = process(1);
    let other_cell = Holder { cell: 2, ..gone };
    let specs = [lot("a", 10)];
    let asks = vec![ask(gone, Units::Exactly(6), &specs), ask(other_cell, Units::Exactly(4), &specs)];
    leases(asks).commit(session).await;
    let adopt = Parcel {
        forget: Some(gone.owner),
        leases: vec![ask(process(2), Units::Exactly(8), &specs)],
        ..events(vec![using("1", 2, Some(gone), &specs)])
    };
    assert_eq!(adopt.commit(session).await.leased, [Leased { units: 8, left: 0 }]);
    assert_eq!(lots(session).await, "a 10 2 8");
    assert_eq!(owners::owners(session).await.unwrap().into_iter().collect::<Vec<_>>(), [process(2).owner]);
    check(session).await;
}

pub(super) async fn reservations_expire_also_while_processes_are_left_alone(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, NO_TIME).await.unwrap();
    let specs = [lot("a", 10)];
    let short = LeaseAsk { expires_in: Some(NO_TIME), ..ask(reservation(8), Units::Exactly(6), &specs) };
    leases(vec![ask(process(1), Units::Exactly(3), &specs), short]).commit(session).await;
    for (processes, units, left) in [(false, 6, "a 10 0 3"), (true, 3, "a 10 0 0")] {
        session.begin().await.unwrap();
        assert_eq!(owners::reclaim(session, processes).await.unwrap().units, units);
        session.commit().await.unwrap();
        assert_eq!(lots(session).await, left);
    }
    check(session).await;
}

pub(super) async fn what_is_held_for_later_uses_of_a_process_that_is_gone_stays_until_the_last(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    for number in 1..=2 {
        owners::heartbeat(session, process(number).owner, MINUTE).await.unwrap();
    }
    let (gone, specs) = (process(1), [lot("a", 20)]);
    events(vec![using("1", 3, None, &specs)]).commit(session).await;
    leases(vec![ask(gone, Units::Exactly(6), &specs)]).commit(session).await;
    // It was counted, and the process died before it knew.
    let first = Parcel { keep: true, ..events(vec![using("1", 3, Some(gone), &specs)]) };
    assert_eq!(first.commit(session).await.outcomes, [Outcome::Duplicate]);
    let others = leases(vec![ask(process(2), Units::Exactly(12), &specs), ask(process(2), Units::Exactly(11), &specs)]);
    let leased = others.commit(session).await.leased;
    assert_eq!(leased, [Leased { units: 0, left: 11 }, Leased { units: 11, left: 0 }]);
    let last = Parcel { keep: true, forget: Some(gone.owner), ..events(vec![using("2", 6, Some(gone), &specs)]) };
    assert_eq!(last.commit(session).await.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(lots(session).await, "a 20 9 11");
    check(session).await;
}
