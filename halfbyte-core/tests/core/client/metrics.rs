use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use halfbyte_core::client::Limits;
use http::Method;
use opentelemetry::trace::FutureExt as _;
use opentelemetry::{Context, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::net::TcpListener;
use url::Url;

use super::{Server, client, nobody, respond};

/// The client measures with the global provider, which is set once for all tests; they are told apart by their ports.
static METRICS: LazyLock<(SdkMeterProvider, InMemoryMetricExporter)> = LazyLock::new(|| {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    global::set_meter_provider(provider.clone());
    (provider, exporter)
});

#[derive(Debug)]
struct Series {
    /// But `server.port`.
    attributes: BTreeMap<String, String>,
    count: u64,
    sum: f64,
}

/// What was measured of calls to the port of `url`, in the order of the attributes.
fn measured(url: &Url) -> Vec<Series> {
    METRICS.0.force_flush().expect("in memory");
    let port = url.port().expect("a port").to_string();
    let collected = METRICS.1.get_finished_metrics().expect("in memory");
    let mut all = Vec::new();
    for scope in collected.last().expect("collected").scope_metrics() {
        assert_eq!(scope.scope().name(), "halfbyte-core");
        for metric in scope.metrics() {
            assert_eq!((metric.name(), metric.unit()), ("http.client.request.duration", "s"));
            let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
                panic!("not a histogram: {metric:?}")
            };
            for point in histogram.data_points() {
                let bounds: Vec<_> = point.bounds().collect();
                assert_eq!(bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
                let mut attributes: BTreeMap<_, _> =
                    point.attributes().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect();
                assert_eq!(attributes.len(), point.attributes().count());
                if attributes.remove("server.port").as_ref() == Some(&port) {
                    all.push(Series { attributes, count: point.count(), sum: point.sum() });
                }
            }
        }
    }
    all.sort_by(|one, other| one.attributes.cmp(&other.attributes));
    all
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The attributes of one series that was measured once.
fn once(url: &Url) -> BTreeMap<String, String> {
    let [series] = <[Series; 1]>::try_from(measured(url)).expect("exactly one series");
    assert_eq!(series.count, 1);
    series.attributes
}

#[tokio::test]
async fn each_attempt_is_measured_once_and_by_its_own_outcome() {
    LazyLock::force(&METRICS);
    let server = Server::start(|number, _| respond([503, 503, 200][number - 1], &[("retry-after", "0")], "")).await;
    let mut url = server.url("path?token=hunter2#hunter2");
    url.set_username("ada").expect("set");
    client(Limits::default()).get(url.clone()).send().await.expect("an answer");
    let common = [
        ("http.request.method", "GET"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ];
    let mut refused = pairs(&common);
    refused.extend(pairs(&[("error.type", "503"), ("http.response.status_code", "503")]));
    let measured = measured(&url);
    assert_eq!(
        measured.iter().map(|series| (&series.attributes, series.count)).collect::<Vec<_>>(),
        [(&refused, 2), (&pairs(&common), 1)]
    );
}

#[tokio::test]
async fn an_attempt_is_measured_to_the_last_byte_and_the_wait_before_the_next_is_not() {
    LazyLock::force(&METRICS);
    let server = Server::start(|number, _| match number {
        1 => respond(503, &[("retry-after", "1")], ""),
        _ => {
            let late = futures_util::stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, std::convert::Infallible>("late")
            });
            respond(200, &[], axum::body::Body::from_stream(late))
        }
    })
    .await;
    let url = server.url("");
    let began = std::time::Instant::now();
    client(Limits::default()).get(url.clone()).send().await.expect("an answer");
    let took = began.elapsed().as_secs_f64();
    let sum: f64 = measured(&url).iter().map(|series| series.sum).sum();
    let whole = measured(&url).into_iter().find(|series| series.attributes["http.response.status_code"] == "200");
    assert!(whole.expect("answered").sum >= 0.1, "the body is part of it");
    assert!(sum <= took - 1.0, "{sum} of {took}: nothing was under way meanwhile");
}

#[tokio::test]
async fn an_attempt_without_an_answer_is_measured_by_its_failure() {
    LazyLock::force(&METRICS);
    let slow = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let large = Server::start(|_, _| respond(200, &[], "x".repeat(101))).await;
    let url = |address| -> Url { format!("http://{address}/").parse().expect("a URL") };
    let answered = [("http.response.status_code", "200"), ("network.protocol.version", "1.1")];
    for (url, error, answered) in [
        (url(nobody()), "connect", &[][..]),
        (url(slow.local_addr().expect("bound")), "timeout", &[]),
        (large.url(""), "too_large", &answered),
    ] {
        let limits = Limits { attempts: 1, max_body: 100, timeout: Duration::from_millis(300), ..Limits::default() };
        client(limits).get(url.clone()).send().await.expect_err(error);
        let common = [("http.request.method", "GET"), ("server.address", "127.0.0.1"), ("error.type", error)];
        assert_eq!(once(&url), pairs(&[&common, answered].concat()), "{error}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_dropped_is_measured_as_cancelled() {
    LazyLock::force(&METRICS);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url: Url = format!("http://{}/", silent.local_addr().expect("bound")).parse().expect("a URL");
    let call = client(Limits::default()).get(url.clone()).send();
    tokio::select! {
        biased;
        _ = call => panic!("nobody answers"),
        accepted = silent.accept() => drop(accepted),
    }
    assert_eq!(once(&url)["error.type"], "cancelled");
}

#[tokio::test]
async fn neither_paths_nor_methods_that_are_not_known_make_series() {
    LazyLock::force(&METRICS);
    let server = Server::start(|_, _| respond(200, &[], "")).await;
    for method in ["BREW", "get", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).expect("valid");
        client(Limits::default()).request(method.clone(), server.url(method.as_str())).send().await.expect("an answer");
    }
    let [series] = <[Series; 1]>::try_from(measured(&server.url(""))).expect("exactly one series");
    assert_eq!((series.attributes["http.request.method"].as_str(), series.count), ("_OTHER", 3));
}

#[tokio::test]
async fn telemetrys_own_calls_are_not_measured() {
    LazyLock::force(&METRICS);
    let server = Server::start(|_, _| respond(200, &[], "")).await;
    let suppressed = Context::new().with_telemetry_suppressed();
    client(Limits::default()).get(server.url("")).send().with_context(suppressed).await.expect("an answer");
    // So that there is something to be collected.
    client(Limits::default()).post(server.url("")).send().await.expect("an answer");
    assert_eq!(once(&server.url(""))["http.request.method"], "POST");
}
