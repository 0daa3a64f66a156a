use halfbyte_core::ProductId;
use proptest::prelude::*;

use super::tabulate::SlotRow;
use super::*;
use crate::catalog::{Aggregation, Meter};
use crate::metering::{Aggregate, Measured};
use crate::period::{SLOT_MICROS, slot_of_micros};

const HOUR: i64 = 4;
const DAY: i64 = 24 * HOUR;

fn meter(aggregation: Aggregation, group_by: &[&str]) -> Meter {
    Meter {
        name: "pages".into(),
        product: ProductId::new("printer").unwrap(),
        unit: "page".into(),
        event: "printer.pages".into(),
        aggregation,
        value: "n".into(),
        decimals: 2,
        group_by: group_by.iter().map(|name| (*name).into()).collect(),
        filters: Box::default(),
    }
}

/// What one event at `at` (microseconds) measured, with its dimensions.
type Sample = (i64, Vec<&'static str>, i64);

fn dimensions(values: &[&str]) -> Box<str> {
    if values.is_empty() { Box::default() } else { serde_json::to_string(values).unwrap().into() }
}

fn measured(meter: &Meter, value: i64) -> Measured {
    match meter.aggregation {
        Aggregation::Count => Measured::Amount(1),
        Aggregation::Unique => Measured::Unique(value.to_string().into()),
        Aggregation::TimeWeighted => Measured::Level(value),
        _ => Measured::Amount(value),
    }
}

/// What the store would have of these, which are sorted by time.
fn slots(meter: &Meter, samples: &[Sample]) -> Vec<SlotRow> {
    let mut slots: BTreeMap<(i64, Box<str>), Aggregate> = BTreeMap::new();
    for (index, (at, values, value)) in samples.iter().enumerate() {
        let aggregate = slots.entry((slot_of_micros(*at), dimensions(values))).or_default();
        aggregate.add(&measured(meter, *value), *at, &format!("{index:05}")).unwrap();
    }
    slots.into_iter().map(|((slot, dimensions), aggregate)| SlotRow { slot, dimensions, aggregate }).collect()
}

fn micros(at: &str) -> i64 {
    at.parse::<Timestamp>().unwrap().as_microsecond()
}

fn query(from: &str, until: &str) -> UsageQuery {
    UsageQuery::new("pages", &TenantId::new("acme").unwrap()).between(from.parse().unwrap(), until.parse().unwrap())
}

fn table(meter: &Meter, query: &UsageQuery, samples: &[Sample]) -> UsageTable {
    let rows = tabulate(meter, query, Timestamp::MAX, slots(meter, samples), []).unwrap();
    UsageTable::new(meter, query, rows)
}

fn values(table: &UsageTable) -> Vec<String> {
    table.rows.iter().map(|row| row.value.to_string()).collect()
}

fn november() -> Vec<Sample> {
    vec![
        (micros("2026-11-01T00:00:00Z"), vec!["2", "acme"], 150),
        (micros("2026-11-01T09:00:00Z"), vec!["1", "acme"], 700),
        (micros("2026-11-01T23:59:59.999999Z"), vec!["2", "zoë"], 25),
        (micros("2026-11-03T12:00:00Z"), vec!["2", "acme"], 150),
    ]
}

#[test]
fn each_aggregation_has_its_value_and_every_bucket_a_row_where_nothing_is_a_number() {
    let days = query("2026-11-01T00:00:00Z", "2026-11-04T00:00:00Z").bucket(Bucket::Day);
    for (aggregation, expected, whole) in [
        (Aggregation::Count, vec!["3", "0", "1"], "4"),
        (Aggregation::Sum, vec!["8.75", "0.00", "1.50"], "10.25"),
        (Aggregation::Min, vec!["0.25", "1.50"], "0.25"),
        (Aggregation::Max, vec!["7.00", "1.50"], "7.00"),
        (Aggregation::Latest, vec!["0.25", "1.50"], "1.50"),
        (Aggregation::Unique, vec!["3", "0", "1"], "3"),
    ] {
        let meter = meter(aggregation, &["tray", "user"]);
        assert_eq!(values(&table(&meter, &days, &november())), expected, "{aggregation:?}");
        let all = query("2026-11-01T00:00:00Z", "2026-11-04T00:00:00Z");
        assert_eq!(values(&table(&meter, &all, &november())), [whole], "{aggregation:?}");
    }
    let nothing = table(&meter(Aggregation::Sum, &[]), &days, &[]);
    assert_eq!((values(&nothing), nothing.total()), (vec!["0.00".to_owned(); 3], Decimal::ZERO));
    assert!(table(&meter(Aggregation::Latest, &[]), &days, &[]).rows.is_empty());
}

#[test]
fn usage_is_grouped_and_filtered_by_dimensions() {
    let meter = meter(Aggregation::Sum, &["tray", "user"]);
    let all = query("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    let by_tray = table(&meter, &all.clone().group_by(&["tray"]), &november());
    let rows: Vec<_> = by_tray.rows.iter().map(|row| (&*row.dimensions["tray"], row.value.to_string())).collect();
    assert_eq!(rows, [("1", "7.00".to_owned()), ("2", "3.25".to_owned())]);
    assert_eq!(by_tray.total().to_string(), "10.25");
    let filtered = |filters: &[(&str, &str)]| {
        let query = filters.iter().fold(all.clone(), |query, (name, value)| query.filter(name, value));
        values(&table(&meter, &query, &november()))
    };
    assert_eq!(filtered(&[("tray", "2")]), ["3.25"]);
    assert_eq!(filtered(&[("tray", "2"), ("user", "acme")]), ["3.00"]);
    assert_eq!(filtered(&[("tray", "1"), ("tray", "2")]), ["10.25"]);
    assert_eq!(filtered(&[("tray", "")]), ["0.00"]);
}

#[test]
fn what_was_measured_before_the_meter_had_a_dimension_has_no_value_in_it() {
    let meter = meter(Aggregation::Sum, &["tray", "user"]);
    let old = [(micros("2026-11-01T00:00:00Z"), vec![], 1), (micros("2026-11-01T01:00:00Z"), vec!["2"], 10)];
    let query = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z").group_by(&["user", "tray"]);
    let rows = table(&meter, &query, &old).rows;
    assert_eq!(rows.iter().map(|row| &*row.dimensions["tray"]).collect::<Vec<_>>(), ["", "2"]);
    assert!(rows.iter().all(|row| row.dimensions["user"].is_empty()));
}

#[test]
fn a_level_lasts_over_buckets_without_events_and_until_now() {
    let meter = meter(Aggregation::TimeWeighted, &["team"]);
    let hours = query("2026-11-01T00:00:00Z", "2026-11-01T05:00:00Z").bucket(Bucket::Hour);
    let samples = [
        (micros("2026-11-01T00:30:00Z"), vec!["a"], 200),
        (micros("2026-11-01T01:30:00.5Z"), vec!["b"], 100),
        (micros("2026-11-01T02:00:00Z"), vec!["a"], 0),
    ];
    let now = "2026-11-01T03:15:00Z".parse().unwrap();
    let rows = tabulate(&meter, &hours, now, slots(&meter, &samples), []).unwrap();
    let table = UsageTable::new(&meter, &hours, rows);
    assert_eq!(&*table.unit, "page seconds");
    assert_eq!(values(&table), ["3600", "8999.5", "3600", "900", "0"]);
    // A level from before counts from the beginning on, be there events or not; another one as well.
    let carry = [(dimensions(&["a"]), 300), (dimensions(&["c"]), 1)];
    let rows = tabulate(&meter, &hours, now, slots(&meter, &samples), carry.clone()).unwrap();
    assert_eq!(values(&UsageTable::new(&meter, &hours, rows)), ["9036", "9035.5", "3636", "909", "0"]);
    let only_c = hours.clone().bucket(Bucket::Whole).filter("team", "c").group_by(&["team"]);
    let rows = tabulate(&meter, &only_c, now, slots(&meter, &samples), carry).unwrap();
    assert_eq!(values(&UsageTable::new(&meter, &only_c, rows)), ["117"]);
}

#[test]
fn what_is_measured_ahead_of_the_clock_does_not_count_twice() {
    let meter = meter(Aggregation::TimeWeighted, &[]);
    let hour = query("2026-11-01T00:00:00Z", "2026-11-01T01:00:00Z");
    let samples = [(micros("2026-11-01T00:10:00Z"), vec![], 100), (micros("2026-11-01T00:20:00Z"), vec![], 900)];
    let at = |now: &str| {
        let rows = tabulate(&meter, &hour, now.parse().unwrap(), slots(&meter, &samples), []).unwrap();
        rows[0].value.to_string()
    };
    assert_eq!((at("2026-11-01T00:19:00Z"), at("2026-11-01T00:21:00Z")), ("540".into(), "1140".into()));
}

#[test]
fn a_query_that_cannot_be_answered_says_why() {
    let meter = meter(Aggregation::Sum, &["tray"]);
    let refusal = |query: &UsageQuery| {
        let error = tabulate(&meter, query, Timestamp::MAX, [], []).unwrap_err();
        (error.kind(), error.to_string())
    };
    let day = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    for wrong in [day.clone().group_by(&["user"]), day.clone().filter("user", "x")] {
        let (kind, message) = refusal(&wrong);
        assert_eq!((kind, message.contains("no dimension `user`")), (ErrorKind::Catalog, true), "{message}");
    }
    let (kind, message) = refusal(&UsageQuery::new("pages", &TenantId::new("acme").unwrap()));
    assert_eq!((kind, message.contains("no time")), (ErrorKind::Invalid, true), "{message}");
    let (kind, _) = refusal(&query("2026-11-02T00:00:00Z", "2026-11-02T00:14:59Z"));
    assert_eq!(kind, ErrorKind::Invalid);
    let (kind, message) = refusal(&query("2000-01-01T00:00:00Z", "2026-01-01T00:00:00Z").bucket(Bucket::Hour));
    assert_eq!((kind, message.contains("10000 buckets")), (ErrorKind::Invalid, true), "{message}");
}

#[test]
fn an_answer_is_bounded_however_many_values_a_dimension_has() {
    let meter = meter(Aggregation::Sum, &["user"]);
    let refusal = |query: &UsageQuery, users: i64, hours: i64| {
        let row = |index: i64| SlotRow {
            slot: slot_of_micros(micros("2026-11-01T00:00:00Z")) + index / users * HOUR,
            dimensions: format!("[\"{}\"]", index % users).into(),
            aggregate: Aggregate { count: 1, ..Aggregate::default() },
        };
        let rows = tabulate(&meter, query, Timestamp::MAX, (0..users * hours).map(row), []);
        rows.map(|rows| rows.len()).map_err(|error| error.to_string())
    };
    let day = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    assert_eq!(refusal(&day, 100_000, 1), Ok(1));
    assert!(refusal(&day, 100_001, 1).unwrap_err().contains("100000 combinations"));
    let by_user = day.bucket(Bucket::Hour).group_by(&["user"]);
    assert_eq!(refusal(&by_user, 20_000, 5), Ok(100_000));
    assert!(refusal(&by_user, 20_000, 6).unwrap_err().contains("100000 rows"));
}

#[test]
fn rows_of_another_time_or_without_sense_are_a_fault_of_the_store() {
    let (meter, day) = (meter(Aggregation::Sum, &["tray"]), query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"));
    let mut rows = slots(&meter, &[(micros("2026-11-02T00:00:00Z"), vec!["1"], 1)]);
    let kind = |rows: &[SlotRow]| {
        tabulate(&meter, &day, Timestamp::MAX, rows.to_vec(), []).map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(kind(&rows), Err(ErrorKind::Corrupt));
    rows[0].slot -= 1;
    assert_eq!(kind(&rows), Ok(()));
    rows[0].dimensions = "{".into();
    assert_eq!(kind(&rows), Err(ErrorKind::Corrupt));
}

#[test]
fn what_was_taken_back_leaves_no_row() {
    let meter = meter(Aggregation::Sum, &["tray"]);
    let row = SlotRow {
        slot: slot_of_micros(micros("2026-11-01T00:00:00Z")),
        dimensions: dimensions(&["1"]),
        aggregate: Aggregate::default(),
    };
    let by_tray = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z").group_by(&["tray"]);
    assert_eq!(tabulate(&meter, &by_tray, Timestamp::MAX, [row], []).unwrap(), []);
}

#[test]
fn sums_beyond_64_bits_are_still_exact() {
    let meter = meter(Aggregation::Sum, &[]);
    let day = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    let row = |slot| SlotRow {
        slot: slot_of_micros(micros("2026-11-01T00:00:00Z")) + slot,
        dimensions: Box::default(),
        aggregate: Aggregate { count: 1, sum: i64::MAX, ..Aggregate::default() },
    };
    let rows = tabulate(&meter, &day, Timestamp::MAX, (0..4).map(row), []).unwrap();
    assert_eq!(rows[0].value.to_string(), "368934881474191032.28");
}

#[test]
fn a_table_is_aligned_and_says_the_unit() {
    let meter = meter(Aggregation::Sum, &["tray", "user"]);
    let days = query("2026-11-01T00:00:00Z", "2026-11-04T00:00:00Z").bucket(Bucket::Day).group_by(&["user", "tray"]);
    let expected = "\
from        until       user  tray  pages [page]
2026-11-01  2026-11-02  acme  1             7.00
2026-11-01  2026-11-02  acme  2             1.50
2026-11-01  2026-11-02  zoë   2             0.25
2026-11-03  2026-11-04  acme  2             1.50
";
    assert_eq!(table(&meter, &days, &november()).to_string(), expected);
}

#[test]
fn the_hour_that_comes_twice_has_two_names() {
    let vienna = TimeZone::get("Europe/Vienna").unwrap();
    let hours = query("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z").bucket(Bucket::Hour).zone(vienna);
    let expected = "\
from                    until                   pages [page]
2026-10-25 02:00+02:00  2026-10-25 02:00+01:00             0
2026-10-25 02:00+01:00  2026-10-25 03:00+01:00             0
";
    assert_eq!(table(&meter(Aggregation::Count, &[]), &hours, &[]).to_string(), expected);
}

#[test]
fn nothing_that_was_measured_moves_the_cursor_of_the_terminal() {
    let meter = meter(Aggregation::Sum, &["user"]);
    let samples = [(micros("2026-11-01T00:00:00Z"), vec!["\u{1b}[2J\n\u{9b}x"], 1)];
    let by_user = query("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z").group_by(&["user"]);
    let table = table(&meter, &by_user, &samples);
    for text in [table.to_string(), table.chart(80)] {
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }
}

#[test]
fn a_chart_has_bars_as_long_as_values_are_large() {
    let days = query("2026-11-01T00:00:00Z", "2026-11-04T00:00:00Z").bucket(Bucket::Day);
    let chart = table(&meter(Aggregation::Sum, &["tray", "user"]), &days, &november()).chart(60);
    // The width of a bar is what the label and the value leave: 60 - 10 - 4 - 3, of which 1.50 is 59 eighths.
    let expected = "\
pages [page]
2026-11-01 ███████████████████████████████████████████  8.75
2026-11-02                                              0.00
2026-11-03 ███████▍                                     1.50
";
    assert_eq!(chart, expected);
}

fn zone() -> impl Strategy<Value = TimeZone> {
    let names = ["UTC", "Europe/Vienna", "Asia/Kathmandu", "America/New_York"];
    proptest::sample::select(names.to_vec()).prop_map(|name| TimeZone::get(name).unwrap())
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let values = ["a", "b", ""];
    let sample = (0..4 * DAY * SLOT_MICROS, proptest::sample::subsequence(values.to_vec(), 2), 0_i64..500);
    proptest::collection::vec(sample, 0..40).prop_map(|mut samples| {
        let start = micros("2026-10-24T00:00:00Z");
        samples.iter_mut().for_each(|sample| sample.0 += start);
        samples.sort();
        samples
    })
}

/// The value of a bucket from the events themselves; `None` if there is none.
fn naive(meter: &Meter, events: &[&Sample], start: i64, end: i64) -> Option<Decimal> {
    let inside: Vec<i64> = events.iter().filter(|event| (start..end).contains(&event.0)).map(|event| event.2).collect();
    let cents = |value: i64| Decimal::new(value, 2);
    match meter.aggregation {
        Aggregation::Count => Some(Decimal::from(inside.len())),
        Aggregation::Sum => Some(cents(inside.iter().sum())),
        Aggregation::Min => inside.iter().min().copied().map(cents),
        Aggregation::Max => inside.iter().max().copied().map(cents),
        Aggregation::Latest => inside.last().copied().map(cents),
        Aggregation::Unique => Some(Decimal::from(inside.iter().collect::<std::collections::BTreeSet<_>>().len())),
        Aggregation::TimeWeighted => {
            let teams: std::collections::BTreeSet<_> = events.iter().map(|event| &event.1).collect();
            let areas = teams.into_iter().map(|team| {
                let levels: Vec<_> = events.iter().filter(|event| event.1 == *team).collect();
                let lasting = levels.iter().enumerate().map(|(index, level)| {
                    let until = levels.get(index + 1).map_or(end, |next| next.0).min(end);
                    i128::from(level.2) * i128::from((until - level.0.max(start)).max(0))
                });
                lasting.sum::<i128>()
            });
            Some(Decimal::from_i128_with_scale(areas.sum(), 8))
        }
    }
}

proptest! {
    #[test]
    fn a_table_is_what_the_events_say(
        samples in samples(),
        zone in zone(),
        aggregation in proptest::sample::select(vec![
            Aggregation::Count, Aggregation::Sum, Aggregation::Min, Aggregation::Max, Aggregation::Latest,
            Aggregation::Unique, Aggregation::TimeWeighted,
        ]),
        bucket in proptest::sample::select(vec![Bucket::Whole, Bucket::Hour, Bucket::Day, Bucket::Month]),
        (first, length) in (0..3 * DAY, 1..3 * DAY),
        (grouped, filtered) in (any::<bool>(), any::<bool>()),
    ) {
        let meter = meter(aggregation, &["x", "y"]);
        let first = slot_of_micros(micros("2026-10-24T00:00:00Z")) + first;
        let at = |slot: i64| Timestamp::from_microsecond(slot * SLOT_MICROS).unwrap();
        let mut query = UsageQuery::new("pages", &TenantId::new("acme").unwrap());
        query = query.between(at(first), at(first + length)).bucket(bucket).zone(zone);
        query = if grouped { query.group_by(&["y"]) } else { query };
        query = if filtered { query.filter("x", "a") } else { query };

        let rows = slots(&meter, &samples).into_iter().filter(|row| (first..first + length).contains(&row.slot));
        let mut carry: BTreeMap<Box<str>, i64> = BTreeMap::new();
        let before = samples.iter().filter(|sample| sample.0 < first * SLOT_MICROS);
        carry.extend(before.map(|sample| (dimensions(&sample.1), sample.2)));
        let rows = tabulate(&meter, &query, Timestamp::MAX, rows, carry).unwrap();

        let passing: Vec<&Sample> = samples.iter().filter(|sample| !filtered || sample.1[0] == "a").collect();
        for row in &rows {
            let of_row = |sample: &&Sample| row.dimensions.get("y").is_none_or(|y| y == sample.1[1]);
            let events: Vec<&Sample> = passing.iter().copied().filter(of_row).collect();
            let (start, end) = (row.start.as_microsecond(), row.end.as_microsecond());
            prop_assert_eq!(Some(row.value), naive(&meter, &events, start, end), "{:?}", row);
        }
        // No event of the range lies outside the rows.
        for sample in passing.iter().filter(|sample| (first..first + length).contains(&slot_of_micros(sample.0))) {
            let found = rows.iter().filter(|row| {
                (row.start.as_microsecond()..row.end.as_microsecond()).contains(&sample.0)
                    && row.dimensions.get("y").is_none_or(|y| y == sample.1[1])
            });
            prop_assert_eq!(found.count(), 1);
        }
        prop_assert!(rows.is_sorted_by_key(|row| (row.start, row.dimensions.clone())));
    }

    #[test]
    fn a_chart_is_as_wide_as_it_may_be(
        values in proptest::collection::vec(any::<(i64, u8)>(), 0..20),
        name in ".{0,200}",
        width in 0_usize..300,
    ) {
        let (meter, by_x) = (meter(Aggregation::Latest, &["x"]), query("2026-11-01T00:00:00Z", "2026-11-02T00:30:00Z"));
        let by_x = by_x.group_by(&["x"]);
        let rows = values.iter().map(|(value, scale)| UsageRow {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::MAX,
            dimensions: BTreeMap::from([("x".to_owned(), name.clone())]),
            value: Decimal::from_i128_with_scale(i128::from(*value) << (scale % 31), u32::from(scale % 29)),
        });
        let table = UsageTable::new(&meter, &by_x, rows.collect());
        let chart = table.chart(width);
        prop_assert_eq!(chart.lines().count(), values.len() + 1);
        for line in chart.lines() {
            prop_assert!(line.chars().count() <= width.clamp(60, 200), "{}", line);
        }
        prop_assert_eq!(table.to_string().lines().count(), values.len() + 1);
    }
}
