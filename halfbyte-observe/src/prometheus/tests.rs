use std::sync::mpsc;

use halfbyte_core::config::Config;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use prometheus_parse::{HistogramCount, Sample, Scrape, Value};

use super::page::page;
use super::*;
use crate::export::{Built, Plan, Providers};

/// A process without a collector.
fn process() -> (Built, Scraper) {
    process_with(&[], &Resource::builder_empty().with_service_name("parcel").build())
}

fn process_with(variables: &[(&str, &str)], resource: &Resource) -> (Built, Scraper) {
    let mut plan = Plan::read(&Config::parse(variables.iter().copied()).unwrap().other).unwrap();
    plan.scraped = true;
    let built = Providers::build(&plan, resource, &Chain::default(), None).unwrap();
    let scraper = Scraper::new(built.scraped.clone().unwrap(), Chain::default());
    (built, scraper)
}

impl Built {
    fn meter(&self) -> opentelemetry::metrics::Meter {
        let scope = InstrumentationScope::builder("lib").with_version("2").build();
        self.providers.metrics.as_ref().unwrap().meter_with_scope(scope)
    }
}

async fn text(scraper: &Scraper) -> String {
    scraper.scrape(Format::Text, Duration::from_secs(60)).await.unwrap()
}

fn parsed(page: &str) -> Vec<Sample> {
    Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap().samples
}

fn find<'a>(samples: &'a [Sample], name: &str, label: (&str, &str)) -> &'a Sample {
    let is =
        |sample: &&Sample| sample.metric == name && (label.0.is_empty() || sample.labels.get(label.0) == Some(label.1));
    let mut found = samples.iter().filter(is);
    let one = found.next().unwrap_or_else(|| panic!("no {name} {label:?}: {samples:?}"));
    assert!(found.next().is_none(), "{name} is there twice");
    one
}

#[tokio::test]
async fn a_page_reads_back_as_what_was_recorded() {
    let (built, scraper) = process();
    let meter = built.meter();
    let counter = meter.u64_counter("labels.made").with_description("Labels \\ by kind\nand size").build();
    counter.add(3, &[KeyValue::new("label.kind", "a \"b\"\\\nc")]);
    meter.i64_up_down_counter("queue.size").with_unit("{job}").build().add(-4, &[]);
    meter.f64_gauge("fill").with_unit("1").build().record(0.25, &[]);
    let durations = meter.f64_histogram("took").with_unit("s").with_boundaries(vec![0.1, 1.0]).build();
    [0.05, 0.1, 0.5, 7.0].into_iter().for_each(|took| durations.record(took, &[]));

    let page = text(&scraper).await;
    let samples = parsed(&page);
    assert_eq!(find(&samples, "labels_made_total", ("otel_scope_name", "lib")).value, Value::Counter(3.0));
    assert_eq!(find(&samples, "queue_size", ("", "")).value, Value::Gauge(-4.0));
    assert_eq!(find(&samples, "fill_ratio", ("otel_scope_version", "2")).value, Value::Gauge(0.25));
    let Value::Histogram(buckets) = &find(&samples, "took_seconds", ("", "")).value else { panic!("{samples:?}") };
    let buckets: Vec<_> = buckets.iter().map(|HistogramCount { less_than, count }| (*less_than, *count)).collect();
    assert_eq!(buckets, [(0.1, 2.0), (1.0, 3.0), (f64::INFINITY, 4.0)]);
    let line = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{page}"));
    assert_eq!(line("took_seconds_sum"), r#"took_seconds_sum{otel_scope_name="lib",otel_scope_version="2"} 7.65"#);
    assert!(line("took_seconds_count").ends_with(" 4"));
    assert!(line("labels_made_total{").contains(r#"label_kind="a \"b\"\\\nc""#), "{page}");
    assert_eq!(line("# HELP labels_made_total"), r"# HELP labels_made_total Labels \\ by kind\nand size");
    assert_eq!(line("# TYPE labels_made_total"), "# TYPE labels_made_total counter");
    assert!(line("target_info{").contains(r#"service_name="parcel""#), "{page}");
    assert_eq!(line("halfbyte_scrape_left_out"), "halfbyte_scrape_left_out 0");
    assert!(!page.contains("# EOF") && !page.contains("# UNIT"));
}

#[tokio::test]
async fn openmetrics_names_families_units_and_its_end() {
    let (built, scraper) = process();
    built.meter().u64_counter("sent").with_unit("By").build().add(3, &[]);
    built.meter().f64_histogram("took").with_unit("s").with_boundaries(vec![1.0]).build().record(0.5, &[]);
    let page = scraper.scrape(Format::OpenMetrics, Duration::from_secs(60)).await.unwrap();
    for line in [
        "# TYPE target info",
        "# TYPE sent_bytes counter",
        "# UNIT sent_bytes bytes",
        r#"sent_bytes_total{otel_scope_name="lib",otel_scope_version="2"} 3"#,
        r#"took_seconds_bucket{otel_scope_name="lib",otel_scope_version="2",le="1.0"} 1"#,
        r#"took_seconds_bucket{otel_scope_name="lib",otel_scope_version="2",le="+Inf"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in:\n{page}");
    }
    assert!(page.ends_with("\n# EOF\n"), "{page}");
}

#[tokio::test]
async fn an_exemplar_is_shown_on_its_bucket_and_stays_for_who_exports() {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    let (built, scraper) = process();
    let meter = built.providers.metrics.as_ref().unwrap().meter(crate::SCOPE);
    let exemplars = scraper.0.chain.exemplars();
    let durations = exemplars.shared(&meter, "took", "");
    let span = SpanContext::new(TraceId::from(5), SpanId::from(7), TraceFlags::SAMPLED, false, TraceState::NONE);
    let at = std::time::Instant::now();
    durations.record(Some(1), Vec::new, (Duration::from_millis(30), || at), &span);
    for _ in 0..2 {
        let page = scraper.scrape(Format::OpenMetrics, Duration::from_secs(60)).await.unwrap();
        let shown: Vec<_> = page.lines().filter(|line| line.contains(" # {")).collect();
        let [line] = shown[..] else { panic!("{page}") };
        let trace = r#"trace_id="00000000000000000000000000000005",span_id="0000000000000007""#;
        assert!(line.contains(r#"le="0.05"} 1 # {"#) && line.contains(trace) && line.contains("} 0.03 1"), "{line}");
    }
    let mut request = scraper.0.reader.read().unwrap();
    exemplars.attach(&mut request);
    assert!(format!("{request:?}").contains("Exemplar {"), "the scrape has taken what is exported");
    // What was exported is still the last one.
    let page = scraper.scrape(Format::OpenMetrics, Duration::from_secs(60)).await.unwrap();
    assert!(page.contains(" # {trace_id"), "{page}");
    assert!(!text(&scraper).await.contains(" # {"), "the older format has none");
}

#[tokio::test]
async fn what_clashes_is_left_out_whole_and_counted() {
    let (built, scraper) = process();
    let meter = built.meter();
    meter.u64_counter("a.b").build().add(1, &[]);
    meter.f64_gauge("a_b").build().record(9.0, &[]);
    meter.f64_histogram("h").with_boundaries(vec![1.0]).build().record(0.5, &[]);
    meter.f64_gauge("h.count").build().record(9.0, &[]);
    meter.f64_gauge("target").build().record(9.0, &[]);
    meter.f64_gauge("halfbyte.scrape.left_out").build().record(9.0, &[]);
    // Once more, of the same name and labels.
    let gauge = meter.f64_gauge("twice").build();
    gauge.record(1.0, &[KeyValue::new("x", "1"), KeyValue::new("y.z", "2")]);
    meter.f64_gauge("tw_ice").build().record(1.0, &[]);
    meter.f64_gauge("tw.ice").build().record(2.0, &[]);
    let page = text(&scraper).await;
    let samples = parsed(&page);
    let kinds = samples.iter().filter(|sample| matches!(sample.metric.as_str(), "a_b" | "a_b_total")).count();
    assert_eq!(kinds, 1, "{page}");
    assert_eq!(page.lines().filter(|line| line.starts_with("h_count{")).count(), 1, "{page}");
    assert_eq!(page.lines().filter(|line| line.starts_with("tw_ice{")).count(), 1, "{page}");
    assert_eq!(find(&samples, "halfbyte_scrape_left_out", ("", "")).value, Value::Gauge(4.0), "{page}");
}

#[tokio::test]
async fn secrets_are_removed_from_labels_and_from_what_the_process_says_of_itself() {
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("db.password", "hunter2")).build();
    let (built, scraper) = process_with(&[], &resource);
    let attributes = [KeyValue::new("api_key", "hunter2"), KeyValue::new("url", "https://x/?code=hunter2")];
    built.meter().u64_counter("c").build().add(1, &attributes);
    let page = text(&scraper).await;
    assert!(!page.contains("hunter2"), "{page}");
    assert!(page.contains(r#"db_password="REDACTED""#) && page.contains(r#"api_key="REDACTED""#), "{page}");
}

#[tokio::test]
async fn series_have_the_bound_that_they_have_anyway() {
    let (built, scraper) = process();
    let counter = built.meter().u64_counter("c").build();
    (0..5_000).for_each(|n| counter.add(1, &[KeyValue::new("n", n)]));
    let samples = parsed(&text(&scraper).await);
    let series: Vec<_> = samples.iter().filter(|sample| sample.metric == "c_total").collect();
    assert_eq!(series.len(), 2_001);
    let total =
        series.iter().map(|sample| if let Value::Counter(count) = sample.value { count } else { 0.0 }).sum::<f64>();
    assert!((total - 5_000.0).abs() < 0.5, "{total}");
}

#[tokio::test]
async fn what_the_page_has_no_room_for_is_left_out_whole() {
    let (built, scraper) = process();
    built.meter().u64_counter("small").build().add(1, &[]);
    let large = built.meter().u64_counter("large").build();
    (0..100).for_each(|n| large.add(1, &[KeyValue::new("n", "x".repeat(100)), KeyValue::new("m", n)]));
    let mut request = scraper.0.reader.read().unwrap();
    scraper.0.chain.scraped(&mut request);
    let page = page(&request, Format::Text, 5_000);
    assert!(page.len() < 6_000 && !page.contains("large") && page.contains("small_total{"), "{page}");
    assert!(page.contains("halfbyte_scrape_left_out 1\n"), "{page}");
}

#[tokio::test]
async fn buckets_that_are_exponential_are_shown_by_powers_of_two() {
    let variable = ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram");
    let (built, scraper) = process_with(&[variable], &Resource::builder_empty().build());
    let histogram = built.meter().f64_histogram("h").build();
    // At first all in one at a fine scale, then so far apart that the scale is coarse.
    for (values, expected) in [
        (&[0.0, 1.5, 1.6, 2.0][..], vec![(0.0, 1.0), (2.0, 4.0), (f64::INFINITY, 4.0)]),
        (&[1e-3, 1e3][..], vec![(0.0, 1.0), (2.0_f64.powi(-9), 2.0), (2.0, 5.0), (1024.0, 6.0), (f64::INFINITY, 6.0)]),
    ] {
        values.iter().for_each(|value| histogram.record(*value, &[]));
        let samples = parsed(&text(&scraper).await);
        let Value::Histogram(buckets) = &find(&samples, "h", ("", "")).value else { panic!("{samples:?}") };
        let mut so_far = -1.0;
        let steps = buckets.iter().map(|bucket| (bucket.less_than, bucket.count)).filter(|(bound, count)| {
            let rises = *count > so_far || bound.is_infinite();
            so_far = *count;
            rises
        });
        assert_eq!(steps.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn with_delta_for_a_collector_a_page_still_counts_from_the_start() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:9/v1/metrics"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ];
    let (built, scraper) = process_with(&variables, &Resource::builder_empty().build());
    let counter = built.meter().u64_counter("c").build();
    for n in 1..=3_u32 {
        counter.add(1, &[]);
        let samples = parsed(&text(&scraper).await);
        assert_eq!(find(&samples, "c_total", ("", "")).value, Value::Counter(f64::from(n)));
    }
}

#[tokio::test]
async fn a_callback_that_hangs_costs_that_scrape_alone_and_one_that_waits_for_its_turn() {
    let (built, scraper) = process();
    let (let_go, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let callback = move |_: &dyn opentelemetry::metrics::AsyncInstrument<u64>| _ = held.lock().unwrap().recv();
    built.meter().u64_observable_gauge("hangs").with_callback(callback).build();
    for _ in 0..2 {
        let error = scraper.scrape(Format::Text, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("not collected within 50ms"), "{error}");
    }
    let_go.send(()).unwrap();
    drop(let_go);
    assert!(text(&scraper).await.contains("halfbyte_scrape_left_out"));
}

#[tokio::test]
async fn a_callback_that_panics_is_said_and_so_is_the_end_of_telemetry() {
    let (built, scraper) = process();
    built.meter().u64_observable_gauge("panics").with_callback(|_| panic!("hunter2")).build();
    for _ in 0..2 {
        let error = scraper.scrape(Format::Text, Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("cannot be collected") && !error.contains("hunter2"), "{error}");
    }
    let (built, scraper) = process();
    built.providers.metrics.as_ref().unwrap().shutdown().unwrap();
    let error = scraper.scrape(Format::Text, Duration::from_secs(60)).await.unwrap_err().to_string();
    assert!(error.contains("shut down"), "{error}");
}

#[test]
fn who_scrapes_gets_what_it_prefers() {
    for (accept, format) in [
        ("", Format::Text),
        ("text/html", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
        ("application/openmetrics-text;version=2.0.0", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;version=1.0.0;q=0.2", Format::Text),
        ("APPLICATION/OpenMetrics-Text; Q=0.5, */*;q=0.1", Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}
