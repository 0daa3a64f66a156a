use super::fresh::Fresh;
use super::support::{COUNTED, commit, correction, event, noon, tenant};
use crate::metering::Measured;
use crate::period::slot_of;
use crate::store::{Outcome, Standing};

pub(super) async fn a_void_takes_away_what_was_counted(fresh: Fresh) {
    fresh.count(&[event("a").labels(3), event("b").labels(5), event("c").at(noon(20)).labels(7)]).await;
    assert_eq!(fresh.count(&[correction("void a", "a")]).await, [COUNTED]);
    assert_eq!(fresh.total("labels").await, (2, 12));
    assert_eq!(fresh.standing("a").await, Some(Standing::Corrected));
    assert_eq!(fresh.count(&[correction("void c", "c")]).await, [COUNTED]);
    assert_eq!(fresh.rows("labels").await.len(), 1, "a slot in which nothing is left is gone");
    assert_eq!(fresh.count(&[event("a").labels(3)]).await, [Outcome::Duplicate], "its name stays taken");
}

pub(super) async fn an_amend_counts_at_the_time_of_what_it_amends(fresh: Fresh) {
    fresh.count(&[event("a").labels(3)]).await;
    let amend = correction("amend", "a").at(noon(50)).labels(4).measures("stamps", "", Measured::Amount(1));
    assert_eq!(fresh.count(&[amend, event("b").labels(1)]).await, [COUNTED; 2]);
    let rows = fresh.rows("labels").await;
    assert_eq!((rows.len(), rows[0].0), (1, slot_of(noon(0))));
    assert_eq!((rows[0].2.count, rows[0].2.sum), (2, 5));
    assert_eq!(rows[0].2.latest.as_ref().unwrap().at, noon(0).as_microsecond());
    assert_eq!(fresh.rows("stamps").await[0].0, rows[0].0);
    let kept = fresh.store.event("/tests", "amend").await.unwrap().unwrap();
    assert_eq!((kept.event.time, kept.slot), (noon(50), rows[0].0), "it was sent when it was sent");
}

pub(super) async fn a_correction_counts_once(fresh: Fresh) {
    fresh.count(&[event("a").labels(3)]).await;
    let amend = correction("amend", "a").labels(4);
    assert_eq!(fresh.count(&[amend.clone(), amend.clone()]).await, [COUNTED, Outcome::Duplicate]);
    assert_eq!(fresh.count(std::slice::from_ref(&amend)).await, [Outcome::Duplicate]);
    assert_eq!(fresh.count(&[amend.data("{\"n\":1}")]).await, [Outcome::Conflict]);
    assert_eq!(fresh.total("labels").await, (1, 4));
}

pub(super) async fn a_correction_can_be_corrected(fresh: Fresh) {
    fresh.count(&[event("a").labels(3)]).await;
    assert_eq!(fresh.count(&[correction("1", "a").labels(4)]).await, [COUNTED]);
    assert_eq!(fresh.count(&[correction("2", "a").labels(5)]).await, [Outcome::NothingToCorrect], "it was amended");
    assert_eq!(fresh.count(&[correction("2", "1").at(noon(90)).labels(5)]).await, [COUNTED]);
    let rows = fresh.rows("labels").await;
    assert_eq!((rows.len(), rows[0].0, rows[0].2.sum), (1, slot_of(noon(0)), 5));
    assert_eq!(fresh.count(&[correction("3", "2")]).await, [COUNTED]);
    assert_eq!(fresh.rows("labels").await, []);
}

pub(super) async fn there_must_be_something_to_correct(fresh: Fresh) {
    let void = correction("void", "a");
    assert_eq!(fresh.count(std::slice::from_ref(&void)).await, [Outcome::NothingToCorrect]);
    assert_eq!(fresh.standing("void").await, None, "it may come again");
    let of_another = correction("void", "a").of("other");
    assert_eq!(fresh.count(&[event("a").labels(1), of_another]).await, [COUNTED, Outcome::NothingToCorrect]);
    assert_eq!(fresh.count(&[correction("void", "a").of("other")]).await, [Outcome::NothingToCorrect]);
    assert_eq!(fresh.total("labels").await, (1, 1));
    let again = correction("again", "a");
    assert_eq!(fresh.count(&[void, again]).await, [COUNTED, Outcome::NothingToCorrect]);
    assert_eq!(fresh.total("labels").await, (0, 0));
}

pub(super) async fn what_is_corrected_in_its_own_batch_never_counted(fresh: Fresh) {
    fresh.count(&[event("old").labels(100)]).await;
    let batch = [
        event("a").labels(1),
        correction("b", "a").labels(2),
        correction("c", "b").at(noon(99)).labels(4),
        correction("d", "old").labels(200),
        correction("e", "d").labels(8),
        correction("f", "later"),
        event("later").labels(16),
    ];
    let outcomes = fresh.count(&batch).await;
    assert_eq!(outcomes, [COUNTED, COUNTED, COUNTED, COUNTED, COUNTED, Outcome::NothingToCorrect, COUNTED]);
    assert_eq!(fresh.total("labels").await, (3, 4 + 8 + 16));
    assert_eq!(fresh.rows("labels").await.len(), 1);
    assert_eq!(fresh.count(&batch[..5]).await, [Outcome::Duplicate; 5]);
}

pub(super) async fn a_correction_of_a_closed_period_is_late(fresh: Fresh) {
    fresh.count(&[event("a").labels(1), event("b").at(noon(15)).labels(2)]).await;
    fresh.store.close_until(Some(&tenant("acme")), noon(15)).await.unwrap();
    let batch = [correction("void a", "a").at(noon(60)), correction("void b", "b"), event("late").labels(4)];
    assert_eq!(fresh.count(&batch).await, [Outcome::Late, COUNTED, Outcome::Late]);
    assert_eq!(fresh.total("labels").await, (1, 1));
    assert_eq!(fresh.standing("a").await, Some(Standing::Counts));
    assert_eq!(fresh.count(&[correction("void late", "late")]).await, [Outcome::Late]);
    let late: Vec<_> = fresh.store.late_events("acme", 0, 9).await.unwrap();
    assert_eq!(late.iter().map(|late| &*late.event.id).collect::<Vec<_>>(), ["late", "void a", "void late"]);
}

pub(super) async fn events_and_voids_of_two_processes_do_not_lose_each_other(fresh: Fresh) {
    const ROUNDS: usize = 60;
    let value = |n: usize| Measured::Unique(format!("{}", n % 7).into());
    let ingest = async |process: usize| {
        let mut session = fresh.session().await;
        for n in 0..ROUNDS {
            let new = event(&format!("{process} {n}")).labels(1).measures("who", "", value(n));
            let mut batch = vec![new.measures("seats", "", Measured::Level(1))];
            if n % 3 == 2 {
                // Of what the other did a while ago, which has it committed or not.
                batch.push(correction(&format!("{process} void {n}"), &format!("{} {}", 1 - process, n - 2)));
            }
            commit(&mut *session, &batch).await;
        }
    };
    tokio::join!(ingest(0), ingest(1));
    let events = fresh.store.events_of("acme", super::support::EVER, None, i64::MAX).await.unwrap();
    let left = events.iter().filter(|event| event.standing == Standing::Counts && !event.event.id.contains("void"));
    let left = i64::try_from(left.count()).unwrap();
    for meter in ["labels", "who", "seats"] {
        assert_eq!(fresh.total(meter).await.0, left, "{meter}");
    }
    let who = fresh.rows("who").await;
    assert_eq!(who[0].2.unique.values().sum::<i64>(), left);
}
