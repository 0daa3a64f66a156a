use super::fresh::Fresh;
use super::parcel::{DAY, MINUTE, ask, at, charge, check, events, grace, leases, lot, lots, process, using, void};
use super::support::{event, number, tenant};
use crate::ledger::LotSpec;
use crate::store::{Entry, Held, Leased, Outcome, Units, overage_in, owners};

pub(super) async fn held_units_are_burned_out_of_exactly_their_lots(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();
    let specs = [lot("a", 10), LotSpec { priority: 1, ..lot("b", 10) }];
    let committed = leases(vec![ask(process(1), Units::Exactly(12), &specs)]).commit(session).await;
    assert_eq!(committed.leased, [Leased { units: 12, left: 8 }]);
    assert_eq!(lots(session).await, "a 10 0 10, b 10 0 2");

    // The lots that the event names are others; they are for what is not held.
    let other = [lot("c", 10)];
    events(vec![using("1", 11, Some(process(1)), &other)]).commit(session).await;
    assert_eq!(lots(session).await, "a 10 10 0, b 10 1 1");
    // The first has all that is still held, and leaves nothing of it to the second.
    let entries = vec![using("2", 1, Some(process(1)), &other), using("3", 2, Some(process(1)), &other)];
    events(entries).commit(session).await;
    assert_eq!(lots(session).await, "a 10 10 0, b 10 2 0, c 10 2 0");
    assert_eq!(owners::held_of(session, process(1)).await.unwrap(), 0);
    check(session).await;
}

pub(super) async fn a_void_gives_back_to_exactly_the_lots_that_were_burned(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 5), LotSpec { priority: 1, ..lot("b", 5) }, grace("grace", 5)];
    let committed = events(vec![using("1", 12, None, &specs), using("2", 5, None, &specs)]).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Counted { overage: 2 }, Outcome::Counted { overage: 5 }]);
    assert_eq!(lots(session).await, "a 5 5 0, b 5 5 0, grace 5 5 0");
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(0), at(DAY)).await.unwrap(), 7);

    let voids = vec![void("3", "2", 10), void("4", "2", 10), void("5", "nothing", 10)];
    let committed = events(voids).commit(session).await;
    let (counted, nothing) = (Outcome::Counted { overage: 0 }, Outcome::NothingToCorrect);
    assert_eq!(committed.outcomes, [counted, nothing, nothing]);
    assert_eq!(lots(session).await, "a 5 5 0, b 5 5 0, grace 5 2 0");
    events(vec![void("6", "1", 10)]).commit(session).await;
    assert_eq!(lots(session).await, "a 5 0 0, b 5 0 0, grace 5 0 0");
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(0), at(DAY)).await.unwrap(), 0);
    assert_eq!(number(session, "SELECT count(*) FROM burns").await, 0);
    check(session).await;
}

pub(super) async fn an_event_and_its_void_in_one_batch(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 5)];
    let entries = vec![using("1", 5, None, &specs), void("2", "1", 10), using("3", 4, None, &specs)];
    let committed = events(entries).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Counted { overage: 0 }; 3]);
    assert_eq!(lots(session).await, "a 5 4 0");
    check(session).await;
}

pub(super) async fn an_amend_is_charged_after_what_it_amends_was_given_back(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let specs = [lot("a", 5)];
    events(vec![using("1", 7, None, &specs)]).commit(session).await;
    let correction = void("2", "1", 10).correction;
    let amend = Entry { correction, ..using("2", 4, None, &specs) };
    let committed = events(vec![amend]).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(lots(session).await, "a 5 4 0");
    check(session).await;
}

pub(super) async fn what_does_not_count_gives_back_what_was_held_for_it(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();
    let specs = [lot("a", 20)];
    leases(vec![ask(process(1), Units::Exactly(20), &specs)]).commit(session).await;
    let first = using("1", 4, Some(process(1)), &specs);
    let mut other = first.clone();
    other.event.data = "{\"other\":1}".into();
    let entries = vec![first.clone(), first.clone(), other, using("2", 1, Some(process(1)), &specs)];
    let committed = events(entries).commit(session).await;
    let counted = Outcome::Counted { overage: 0 };
    assert_eq!(committed.outcomes, [counted, Outcome::Duplicate, Outcome::Conflict, counted]);
    assert_eq!(lots(session).await, "a 20 5 7");

    session.script("UPDATE state SET watermark = 1000000000").await.unwrap();
    let committed = events(vec![using("late", 4, Some(process(1)), &specs)]).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Late]);
    assert_eq!(lots(session).await, "a 20 5 3");
    assert_eq!(owners::held_of(session, process(1)).await.unwrap(), 3);
    check(session).await;
}

pub(super) async fn grace_and_what_no_lot_has_are_overage(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();
    let specs = [lot("plan", 5), grace("grace", 3)];
    leases(vec![ask(process(1), Units::Exactly(7), &specs)]).commit(session).await;
    let committed = events(vec![using("1", 10, Some(process(1)), &specs)]).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Counted { overage: 5 }]);
    assert_eq!(lots(session).await, "grace 3 3 0, plan 5 5 0");
    assert_eq!(number(session, "SELECT units FROM burns WHERE lot = ''").await, 2);
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(0), at(900)).await.unwrap(), 5);
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(900), at(1800)).await.unwrap(), 0);
    check(session).await;
}

pub(super) async fn a_charge_burns_no_more_of_what_is_held_than_is_for_it(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    owners::heartbeat(session, process(1).owner, MINUTE).await.unwrap();
    let specs = [lot("a", 120)];
    leases(vec![ask(process(1), Units::Exactly(100), &specs)]).commit(session).await;
    let held = Held { by: process(1), units: 3 };
    let entry = Entry { charges: vec![charge(10, Some(held), &[lot("c", 50)])], ..event("1").at(at(10)) };
    let again = Entry { charges: vec![charge(10, Some(held), &specs)], ..event("2").at(at(10)) };
    assert_eq!(events(vec![entry.clone()]).commit(session).await.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(lots(session).await, "a 120 3 97, c 50 7 0");
    assert_eq!(owners::held_of(session, process(1)).await.unwrap(), 97);
    // Where the lots that it names are those that are held, the rest is out of what nobody holds.
    assert_eq!(events(vec![again]).commit(session).await.outcomes, [Outcome::Counted { overage: 0 }]);
    assert_eq!(lots(session).await, "a 120 13 94, c 50 7 0");
    // One that comes again gives back what was taken for it, and not more.
    assert_eq!(events(vec![entry]).commit(session).await.outcomes, [Outcome::Duplicate]);
    assert_eq!(lots(session).await, "a 120 13 91, c 50 7 0");
    assert_eq!(owners::held_of(session, process(1)).await.unwrap(), 91);
    check(session).await;
}

pub(super) async fn more_units_than_a_number_of_the_database_holds_count_as_the_largest(fresh: Fresh) {
    let session = &mut *fresh.session().await;
    let (specs, most) = ([lot("a", 5)], i64::MAX.unsigned_abs());
    let committed = events(vec![using("1", u64::MAX, None, &specs)]).commit(session).await;
    assert_eq!(committed.outcomes, [Outcome::Counted { overage: most - 5 }]);
    assert_eq!(lots(session).await, "a 5 5 0");
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(0), at(DAY)).await.unwrap(), most - 5);
    check(session).await;

    // Two charges of one event, and more than one such event: the sums stay at the largest.
    let twice = vec![charge(u64::MAX, None, &specs), charge(u64::MAX, None, &specs)];
    let entry = Entry { charges: twice, ..event("2").at(at(10)) };
    assert_eq!(events(vec![entry]).commit(session).await.outcomes, [Outcome::Counted { overage: 2 * most }]);
    let burned = "SELECT CAST(units AS INTEGER) FROM burns WHERE id = '2'";
    assert_eq!(number(session, burned).await, i64::MAX);
    assert_eq!(overage_in(session, &tenant("acme"), "calls", at(0), at(DAY)).await.unwrap(), most);
}
