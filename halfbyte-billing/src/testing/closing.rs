use super::fresh::Fresh;
use super::support::{COUNTED, EVER, event, noon, tenant};
use crate::period::slot_of;
use crate::store::{Outcome, Standing};

pub(super) async fn what_comes_late_is_kept_and_not_counted(fresh: Fresh) {
    fresh.store.close_until(None, noon(15)).await.unwrap();
    let (late, in_time) = (event("late").at(noon(14)).labels(1), event("in time").at(noon(15)).labels(10));
    let batch = [late.clone(), in_time];
    assert_eq!(fresh.count(&batch).await, [Outcome::Late, COUNTED]);
    assert_eq!(fresh.count(&batch).await, [Outcome::Duplicate; 2]);
    assert_eq!(fresh.total("labels").await, (1, 10));
    let kept = fresh.store.late_events("acme", 0, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0].event, kept[0].standing), (&late.event, Standing::Late));
    assert_eq!(fresh.store.late_events("acme", kept[0].seq, 10).await.unwrap(), []);
    assert_eq!(fresh.store.late_events("other", 0, 10).await.unwrap(), []);
}

pub(super) async fn a_watermark_is_a_slot_boundary_and_never_moves_back(fresh: Fresh) {
    let before = fresh.store.state_revision().await.unwrap();
    for to in [None, Some(tenant("acme"))] {
        let close = async |at| fresh.store.close_until(to.as_ref(), at).await.unwrap();
        assert_eq!(close(noon(29)).await, noon(15));
        assert_eq!(close(noon(0)).await, noon(15));
        assert_eq!(close(noon(30)).await, noon(30));
    }
    assert_eq!(fresh.store.state_revision().await.unwrap(), before + 4, "who keeps a copy learns of each change");
}

pub(super) async fn one_tenant_is_closed_without_the_others(fresh: Fresh) {
    fresh.store.close_until(Some(&tenant("acme")), noon(15)).await.unwrap();
    assert_eq!(fresh.count(&[event("a"), event("b").of("other")]).await, [Outcome::Late, COUNTED]);
    fresh.store.close_until(None, noon(30)).await.unwrap();
    let batch = [event("c").at(noon(29)), event("d").at(noon(29)).of("other"), event("e").at(noon(30))];
    assert_eq!(fresh.count(&batch).await, [Outcome::Late, Outcome::Late, COUNTED]);
}

pub(super) async fn what_is_closed_does_not_change_any_more(fresh: Fresh) {
    const SLOTS: i64 = 12;
    let ingest = async |process: i64| {
        let mut session = fresh.session().await;
        for n in 0..SLOTS * 10 {
            let batch = [
                event(&format!("{process} {n}")).at(noon(n % SLOTS * 15)).labels(1),
                event(&format!("{process} {n} again")).at(noon(n / 10 * 15)).labels(1),
            ];
            super::support::commit(&mut *session, &batch).await;
        }
    };
    let close = async {
        let mut closed = Vec::new();
        for slot in 1..=SLOTS {
            let until = fresh.store.close_until(Some(&tenant("acme")), noon(slot * 15)).await.unwrap();
            let slots = i64::MIN..slot_of(until);
            closed.push((
                slots.clone(),
                fresh.store.totals("acme", "labels", std::slice::from_ref(&slots)).await.unwrap(),
            ));
        }
        closed
    };
    let ((), (), closed) = tokio::join!(ingest(1), ingest(2), close);
    for (slots, total) in closed {
        assert_eq!(
            fresh.store.totals("acme", "labels", std::slice::from_ref(&slots)).await.unwrap(),
            total,
            "{slots:?}"
        );
    }
    // And what counted is what the events say.
    let events = fresh.store.events_of("acme", EVER, None, i64::MAX).await.unwrap();
    assert_eq!(events.len(), usize::try_from(SLOTS * 40).unwrap());
    let counted = events.iter().filter(|event| event.standing == Standing::Counts).count();
    assert_eq!(fresh.total("labels").await.0, i64::try_from(counted).unwrap());
}
