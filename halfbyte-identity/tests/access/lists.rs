//! Many things at once, and what is counted of decisions.

use std::collections::BTreeMap;

use halfbyte_core::Live;
use halfbyte_identity::access::{Access, Denied, Entity, Resource};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use crate::parcel::{COUNT, CREATE, Desk, READ, label, rules, tenant, user};

/// A row of the product's, which policies see as a label.
#[derive(Debug, PartialEq, Eq)]
struct Row(&'static str, &'static str, &'static str);

impl Resource for Row {
    fn entity(&self) -> Entity {
        label(self.0, self.1, &user(self.2, "acme", &[]))
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row("acme", "3", "ann"),
        Row("globex", "2", "ann"),
        Row("acme", "9", "bob"),
        Row("acme", "1", "ann"),
        Row("acme", "3", "ann"),
    ]
}

#[tokio::test]
async fn a_list_shows_what_may_be_read_in_its_order() {
    let (desk, ann) = (Desk::default(), user("ann", "acme", &[]));
    let access = desk.access();
    let shown = access.filter(&ann, READ, rows()).await.expect("a list");
    assert_eq!(shown.iter().map(|row| row.1).collect::<Vec<_>>(), ["3", "1", "3"]);
    assert_eq!(desk.calls(), ["ann", "acme"], "once for all");
    let shown = access.checks(&ann).filter(READ, rows()).await.expect("a list");
    assert_eq!(shown.iter().map(|row| row.1).collect::<Vec<_>>(), ["3", "1", "3"]);
    assert_eq!(access.filter(&ann, READ, Vec::<Row>::new()).await.expect("a list"), []);
}

#[tokio::test]
async fn each_of_many_is_answered_as_it_is_alone() {
    let (desk, ann) = (Desk::default(), user("ann", "acme", &[]));
    let access = desk.access();
    let all = access.check_all(&ann, READ, &rows()).await.expect("decisions");
    let mut alone = Vec::new();
    for row in rows() {
        alone.push(access.decide(&ann, READ, &row).await.expect("a decision"));
    }
    assert_eq!(all, alone);
    assert_eq!(access.checks(&ann).check_all(READ, &rows()).await.expect("decisions"), alone);
    let ids: Vec<_> = all.iter().map(|decision| decision.policies.iter().map(|id| &**id).collect::<Vec<_>>()).collect();
    assert_eq!(
        ids,
        [vec!["owners-read"], vec!["halfbyte.tenant-isolation"], vec![], vec!["owners-read"], vec!["owners-read"]]
    );
}

#[tokio::test]
async fn another_tenant_as_a_whole_is_isolated_and_no_error() {
    let (desk, ann) = (Desk::default(), user("ann", "acme", &["clerk"]));
    let decision = desk.access().decide(&ann, CREATE, &tenant("globex")).await.expect("a decision");
    assert_eq!(decision.policies, [std::sync::Arc::from("halfbyte.tenant-isolation")], "{decision:?}");
    assert_eq!(desk.calls(), ["ann", "acme"], "nobody asks whether the other one is suspended");
}

#[tokio::test]
async fn a_list_cannot_be_shown_without_policies() {
    let access = Access::new(Live::failed("access", "no such folder"), ());
    let denied = access.filter(&user("ann", "acme", &[]), READ, rows()).await.expect_err("unavailable");
    assert!(matches!(denied, Denied::Unavailable { .. }), "{denied:?}");
}

/// What was counted, by name and attributes.
fn counted(provider: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
    provider.force_flush().expect("in memory");
    let collected = exporter.get_finished_metrics().expect("in memory");
    let mut counted = BTreeMap::new();
    for metric in collected.last().into_iter().flat_map(|last| last.scope_metrics()).flat_map(|scope| scope.metrics()) {
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { panic!("not a counter") };
        for point in sum.data_points() {
            let mut attributes: Vec<_> = point.attributes().map(|it| it.value.to_string()).collect();
            attributes.sort_unstable();
            counted.insert(format!("{} {}", metric.name(), attributes.join(" ")), point.value());
        }
    }
    counted
}

#[tokio::test]
async fn decisions_and_errors_are_counted_and_errors_deny() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    let desk = Desk::with_labels();
    let access = desk.access().meter(&provider.meter("test"));
    let ann = user("ann", "acme", &[]);
    access.check_all(&ann, READ, &rows()).await.expect("decisions");
    access.check(&ann, CREATE, &tenant("acme")).await.expect_err("no clerk");
    let few = label("acme", "few", &ann);
    access.check(&ann, COUNT, &few).await.expect("it can be counted");
    let decision = access.decide(&ann, COUNT, &few.attribute("count", 1)).await.expect("a decision");
    assert!(!decision.is_allowed, "it overflows");
    assert_eq!(decision.errors[0].policy.as_deref(), Some("not-too-many"));
    let decision = access.decide(&ann, COUNT, &Entity::new("Label", "odd")).await.expect("a decision");
    assert!(!decision.is_allowed && decision.errors[0].policy.is_none(), "{decision:?}");
    access.checks(&ann).find(READ, &crate::parcel::named("nowhere")).await.expect_err("not there");
    desk.go_down();
    access.check(&ann, CREATE, &tenant("acme")).await.expect_err("the database is down");
    let none = Access::new(Live::failed("access", "no such folder"), ()).meter(&provider.meter("test"));
    none.check(&ann, READ, &rows()[0]).await.expect_err("no policies");
    let expected = [
        ("halfbyte.access.decisions CountLabel allow", 1),
        ("halfbyte.access.decisions CountLabel deny", 2),
        ("halfbyte.access.decisions CreateLabel deny", 1),
        ("halfbyte.access.decisions ReadLabel allow", 3),
        ("halfbyte.access.decisions ReadLabel deny", 3),
        ("halfbyte.access.errors CountLabel policy", 1),
        ("halfbyte.access.errors CountLabel question", 1),
        ("halfbyte.access.errors CreateLabel provider", 1),
        ("halfbyte.access.errors ReadLabel no-policies", 1),
    ];
    assert_eq!(counted(&provider, &exporter), expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[tokio::test]
async fn what_does_not_fit_the_schema_is_named_without_its_value() {
    let (access, ann) = (Access::fixed(rules()), user("ann", "acme", &[]));
    let label = || label("acme", "l", &ann);
    for (thing, reason) in [
        (
            label().attribute("count", "hunter2"),
            r#"the attribute count of Label::"l" is not of the type that the schema says"#,
        ),
        (label().attribute("pin", "hunter2"), r#"the schema has no attribute pin of Label::"l""#),
        (
            Entity::new("Label", "l").of_tenant(&tenant("acme")).attribute("count", 0),
            r#"Label::"l" has no attribute owner"#,
        ),
        (Entity::new("Order", "l"), "the schema has no entity Order"),
    ] {
        let decision = access.decide(&ann, READ, &thing).await.expect("a decision");
        assert_eq!(decision.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [reason]);
    }
}
