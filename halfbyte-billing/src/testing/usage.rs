use super::fresh::Fresh;
use super::support::{EVER, event, noon};
use crate::metering::Measured;
use crate::period::slot_of;

pub(super) async fn totals_are_added_up_for_each_stretch(fresh: Fresh) {
    let entries: Vec<_> = (0..8)
        .map(|n| {
            let dimensions = ["[\"eu\"]", "[\"us\"]"][usize::try_from(n % 2).unwrap()];
            event(&format!("{n}")).at(noon(n * 15)).measures("labels", dimensions, Measured::Amount(1 << n))
        })
        .collect();
    fresh.count(&entries).await;
    let first = slot_of(noon(0));
    let totals =
        fresh.store.totals("acme", "labels", &[first..first + 4, first + 4..first + 7, 0..first]).await.unwrap();
    let shown: Vec<_> = totals
        .iter()
        .map(|total| (total.stretch, &*total.dimensions, total.count, total.sum, total.min, total.max))
        .collect();
    assert_eq!(
        shown,
        [
            (0, "[\"eu\"]", 2, 0b101, Some(1), Some(4)),
            (0, "[\"us\"]", 2, 0b1010, Some(2), Some(8)),
            (1, "[\"eu\"]", 2, 0b101_0000, Some(16), Some(64)),
            (1, "[\"us\"]", 1, 0b10_0000, Some(32), Some(32)),
        ]
    );
    assert_eq!(fresh.store.totals("acme", "labels", &[]).await.unwrap(), []);
    assert_eq!(fresh.store.totals("other", "labels", &[EVER]).await.unwrap(), []);
    let some = fresh.store.usage_rows("acme", "labels", first + 2..first + 9, false, 3).await.unwrap();
    assert_eq!(some.iter().map(|row| row.slot - first).collect::<Vec<_>>(), [2, 3, 4]);
}

pub(super) async fn different_values_are_counted_once_in_a_stretch(fresh: Fresh) {
    let user =
        |id: &str, minute, user: &str| event(id).at(noon(minute)).measures("users", "", Measured::Unique(user.into()));
    fresh.count(&[user("1", 0, "ann"), user("2", 1, "ann"), user("3", 15, "ann"), user("4", 16, "bob")]).await;
    let rows = fresh.rows("users").await;
    assert_eq!(rows[0].2.unique, [("ann".into(), 2)].into());
    assert_eq!(rows[1].2.unique, [("ann".into(), 1), ("bob".into(), 1)].into());
    assert_eq!((rows[0].2.count, rows[0].2.min, rows[0].2.latest.clone()), (2, None, None));
}

pub(super) async fn a_level_is_found_before_a_slot(fresh: Fresh) {
    let seats = |id: &str, minute, plan: &str, level| {
        event(id).at(noon(minute)).measures("seats", plan, Measured::Level(level))
    };
    fresh.count(&[seats("1", 0, "a", 1), seats("2", 14, "a", 2), seats("3", 30, "a", 3), seats("4", 1, "b", 4)]).await;
    let first = slot_of(noon(0));
    for (slots, expected) in
        [(0, vec![]), (1, vec![("a", 2), ("b", 4)]), (2, vec![("a", 2), ("b", 4)]), (3, vec![("a", 3), ("b", 4)])]
    {
        let before = fresh.store.level_before("acme", "seats", first + slots).await.unwrap();
        assert_eq!(before.iter().map(|(plan, latest)| (&**plan, latest.value)).collect::<Vec<_>>(), expected);
    }
    let before = fresh.store.level_before("acme", "seats", first + 9).await.unwrap();
    assert_eq!((before["a"].at, &*before["a"].tie), (noon(30).as_microsecond(), "/tests\u{1f}3"));
}

pub(super) async fn events_are_read_page_by_page(fresh: Fresh) {
    // By slot, and within one by arrival.
    let minutes = [40, 0, 20, 1, 21, 2, 41];
    for (n, minute) in minutes.iter().enumerate() {
        fresh.count(&[event(&format!("{n}")).at(noon(*minute))]).await;
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = fresh.store.events_of("acme", EVER, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.slot, last.seq));
        seen.extend(page.into_iter().map(|received| received.event.id.to_string()));
    }
    assert_eq!(seen, ["1", "3", "5", "2", "4", "0", "6"]);
}
