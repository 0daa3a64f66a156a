use super::fresh::Fresh;
use super::support::{COUNTED, commit, event, given};
use crate::metering::Measured;
use crate::store::{Entry, Outcome, Standing};

pub(super) async fn an_event_counts_once_however_often_it_comes(fresh: Fresh) {
    assert_eq!(fresh.count(&[event("a").labels(3)]).await, [COUNTED]);
    for _ in 0..3 {
        assert_eq!(fresh.count(&[event("a").labels(3), event("b").labels(0)]).await[0], Outcome::Duplicate);
    }
    assert_eq!(fresh.total("labels").await, (2, 3));
    assert_eq!(fresh.count(&[]).await, []);
}

pub(super) async fn of_several_with_one_name_in_a_batch_the_first_counts(fresh: Fresh) {
    let batch = [
        event("a").data("{\"n\":1}").labels(1),
        event("a").data("{\"n\":1}").labels(1),
        event("a").data("{\"n\":2}").labels(2),
        event("b").labels(4),
    ];
    assert_eq!(fresh.count(&batch).await, [COUNTED, Outcome::Duplicate, Outcome::Conflict, COUNTED]);
    assert_eq!(fresh.total("labels").await, (2, 5));
}

pub(super) async fn other_content_under_a_known_name_is_a_conflict(fresh: Fresh) {
    let first = event("a").data("{\"n\":1}").labels(1);
    assert_eq!(fresh.count(std::slice::from_ref(&first)).await, [COUNTED]);
    let later = first.clone().at(super::support::noon(1));
    let mut renamed = first.clone();
    renamed.event.kind = "parcel.stamp".into();
    let mut resold = first.clone();
    resold.event.subject = "other".into();
    for other in [first.clone().data("{\"n\":2}"), later, renamed, resold] {
        assert_eq!(fresh.count(&[other.labels(9)]).await, [Outcome::Conflict]);
    }
    assert_eq!(fresh.total("labels").await, (1, 1));
    let kept = fresh.store.event("/tests", "a").await.unwrap().unwrap();
    assert_eq!((kept.event, &*kept.tenant, kept.standing), (first.event, "acme", Standing::Counts));
}

pub(super) async fn sources_and_tenants_are_kept_apart(fresh: Fresh) {
    let mut elsewhere = event("a").labels(10);
    elsewhere.event.source = "/elsewhere".into();
    assert_eq!(fresh.count(&[event("a").labels(1), elsewhere, event("b").of("other").labels(100)]).await, [COUNTED; 3]);
    assert_eq!(fresh.total("labels").await, (2, 11));
    assert_eq!(fresh.store.event("/elsewhere", "b").await.unwrap(), None);
}

pub(super) async fn any_text_comes_back_as_it_was(fresh: Fresh) {
    for (index, text) in ["'\";--", "\\u0041\\", "ÄØ🦀\u{202e}", "%_", "\t\n", "null", "{\"a\":[1]}"].iter().enumerate()
    {
        let dimensions = serde_json::to_string(&[text]).unwrap();
        let mut entry = event(text)
            .data(&serde_json::to_string(&std::collections::BTreeMap::from([("t", text)])).unwrap())
            .measures(text, &dimensions, Measured::Unique((*text).into()))
            .measures(text, &dimensions, Measured::Amount(i64::try_from(index).unwrap()));
        entry.event.kind = (*text).into();
        entry.event.subject = (*text).into();
        assert_eq!(fresh.count(std::slice::from_ref(&entry)).await, [COUNTED], "{text}");
        assert_eq!(fresh.count(std::slice::from_ref(&entry)).await, [Outcome::Duplicate], "{text}");
        assert_eq!(fresh.store.event("/tests", text).await.unwrap().unwrap().event, entry.event);
        let (_, found, aggregate) = fresh.rows(text).await.pop().unwrap();
        assert_eq!(*found, *dimensions);
        assert_eq!(aggregate.unique.keys().map(|value| &**value).collect::<Vec<_>>(), [*text]);
        let void = super::support::correction(&format!("void {text}"), text);
        assert_eq!(fresh.count(&[void]).await, [COUNTED], "{text}");
        assert_eq!(fresh.rows(text).await, [], "{text}");
    }
}

pub(super) async fn a_batch_that_is_rolled_back_leaves_nothing(fresh: Fresh) {
    let mut session = fresh.session().await;
    session.begin().await.unwrap();
    let lost = [event("a").labels(1)];
    assert_eq!(crate::store::count(&mut *session, super::support::noon(0), &given(&lost)).await.unwrap(), [COUNTED]);
    session.rollback().await.unwrap();
    assert_eq!(fresh.total("labels").await, (0, 0));
    assert_eq!(commit(&mut *session, &lost).await, [COUNTED]);
}

pub(super) async fn overlapping_batches_of_two_processes_count_each_event_once(fresh: Fresh) {
    const BATCHES: usize = 30;
    // In one the names rise, in the other they fall: neither may wait for the other while the other waits for it.
    let batch = |round: usize, falling: bool| {
        let mut batch: Vec<Entry> = (0..10)
            .map(|n| event(&format!("{:03}", round * 5 + n)).labels(1).measures("b", "", Measured::Amount(1)))
            .collect();
        if falling {
            batch.reverse();
        }
        batch
    };
    let process = async |falling: bool| {
        let mut session = fresh.session().await;
        let mut counted = 0;
        for round in 0..BATCHES {
            let outcomes = commit(&mut *session, &batch(round, falling)).await;
            counted += outcomes.iter().filter(|outcome| **outcome == COUNTED).count();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Counted { .. } | Outcome::Duplicate)));
        }
        counted
    };
    let (one, other) = tokio::join!(process(false), process(true));
    let different = (BATCHES - 1) * 5 + 10;
    assert_eq!(one + other, different);
    let total = (i64::try_from(different).unwrap(), i128::try_from(different).unwrap());
    assert_eq!((fresh.total("labels").await, fresh.total("b").await), (total, total));
}

pub(super) async fn who_loses_a_race_for_a_name_is_told_so(fresh: Fresh) {
    let (mut first, mut second) = (fresh.session().await, fresh.session().await);
    let mine = [event("a").labels(1), event("b").labels(2)];
    first.begin().await.unwrap();
    assert_eq!(crate::store::count(&mut *first, super::support::noon(0), &given(&mine)).await.unwrap(), [COUNTED; 2]);
    // The second looks for what is there before the first has committed, and inserts afterwards.
    let theirs = [event("a").labels(1), event("b").data("{\"n\":7}").labels(7), event("c").labels(10)];
    let (outcomes, ()) = tokio::join!(commit(&mut *second, &theirs), async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        first.commit().await.unwrap();
    });
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Conflict, COUNTED]);
    assert_eq!(fresh.total("labels").await, (3, 13));
}
