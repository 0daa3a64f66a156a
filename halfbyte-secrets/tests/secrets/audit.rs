//! What is told of secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_secrets::{ErrorKind, Provider as _, Secrets, Stage};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::time::sleep;

use super::lifecycle;
use super::scripted::Scripted;

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listener(&self) -> impl Fn(&halfbyte_secrets::Event<'_>) + Send + Sync + 'static {
        let told = self.0.clone();
        move |event| {
            let why = event.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let line = format!("{} {} {} {}{why}", event.who, event.name, event.generation, event.outcome);
            assert!(!format!("{event:?}").contains("hunter"), "{event:?}");
            told.lock().unwrap().push(line);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_happens_to_a_secret_is_told_with_who_name_generation_and_outcome() {
    let (backend, told, lifecycle) = (Scripted::holding("hunter1"), Told::default(), lifecycle());
    let secrets = Secrets::builder(backend.clone()).who("parcel").listen(told.listener()).build(&lifecycle);
    let secret = secrets.get::<String>("key");
    secret.ready().await.unwrap();
    assert_eq!(told.take(), ["parcel key 1 fetched"]);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(told.take(), ["parcel key 1 unchanged"]);
    backend.set(Stage::Current, "hunter2");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(told.take(), ["parcel key 2 rotated"]);
    backend.set(Stage::Pending, "hunter3");
    sleep(Duration::from_secs(2)).await;
    secret.reject(2).await.unwrap();
    assert_eq!(told.take(), ["parcel key 2 rejected", "parcel key 3 rotated_to_pending"]);
    for (kind, outcome) in
        [(ErrorKind::Denied, "denied"), (ErrorKind::NotFound, "missing"), (ErrorKind::Unavailable, "failed")]
    {
        backend.fail(kind);
        sleep(Duration::from_secs(2)).await;
        let generation = secret.generation();
        let _failed = secret.refresh(generation).await;
        assert_eq!(told.take().last().unwrap(), &format!("parcel key {generation} {outcome}: as it was told"));
        backend.fail(None);
        sleep(Duration::from_secs(70)).await;
        told.take();
    }
    lifecycle.enter(Phase::Ready);
    let _undeclared = secrets.get::<String>("admin");
    let undeclared =
        "parcel (undeclared) 0 denied: the secret admin was not asked for at start: get or declare it before serving";
    assert_eq!(told.take()[0], undeclared);
}

#[tokio::test(start_paused = true)]
async fn leases_are_told_of_from_the_first_to_the_last() {
    let (backend, told, lifecycle) = (Scripted::lending(30, 3600), Told::default(), lifecycle());
    let secrets = Secrets::builder(backend.clone()).who("parcel").listen(told.listener()).build(&lifecycle);
    let secret = secrets.get::<String>("db");
    secret.ready().await.unwrap();
    sleep(Duration::from_secs(21)).await;
    assert!(lifecycle.stop_tasks(Duration::from_secs(1)).await);
    assert_eq!(told.take(), ["parcel db 1 fetched", "parcel db 1 renewed", "parcel db 0 revoked"]);
}

#[tokio::test(start_paused = true)]
async fn metrics_have_reads_by_name_and_outcome_and_the_age_by_name() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    let backend = Scripted::holding("hunter2");
    let secrets = Secrets::builder(backend.clone()).meter(provider.meter("test")).build(&lifecycle());
    let secret = secrets.get::<String>("key");
    secret.ready().await.unwrap();
    assert_eq!(backend.policy().fresh_for, Duration::from_secs(60));
    sleep(Duration::from_secs(130)).await;
    backend.fail(ErrorKind::Denied);
    sleep(Duration::from_secs(2)).await;
    let _denied = secret.refresh(1).await;
    provider.force_flush().unwrap();

    let mut seen = BTreeMap::new();
    for metric in
        exporter.get_finished_metrics().unwrap().iter().flat_map(|all| all.scope_metrics()).flat_map(|s| s.metrics())
    {
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => sum.data_points().for_each(|point| {
                let mut labels: Vec<_> = point.attributes().map(|pair| pair.value.to_string()).collect();
                labels.sort();
                seen.insert(format!("{} {}", metric.name(), labels.join(" ")), point.value() as f64);
            }),
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => gauge.data_points().for_each(|point| {
                let label = point.attributes().next().unwrap().value.to_string();
                seen.insert(format!("{} {label}", metric.name()), point.value() as f64);
            }),
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => gauge.data_points().for_each(|point| {
                let label = point.attributes().next().unwrap().value.to_string();
                // Collected on a thread of the SDK's, whose clock is not the paused one: that it is there is all.
                assert!(point.value() >= 0.0);
                seen.insert(format!("{} {label}", metric.name()), 12.0);
            }),
            other => panic!("{other:?}"),
        }
    }
    let seen: Vec<_> = seen.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(
        seen,
        [
            "halfbyte.secrets.age key 12",
            "halfbyte.secrets.generation key 1",
            "halfbyte.secrets.reads denied key 1",
            "halfbyte.secrets.reads fetched key 1",
            "halfbyte.secrets.reads key unchanged 2",
        ]
    );
}
