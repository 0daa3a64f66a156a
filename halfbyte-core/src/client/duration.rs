//! The histogram that attempts are measured with.

use std::ptr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use opentelemetry::global;
use opentelemetry::metrics::{Histogram, MeterProvider};

type Provider = dyn MeterProvider + Send + Sync;

/// What the semantic conventions advise, in seconds.
const BOUNDARIES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static CACHE: Cache = Cache(ArcSwapOption::const_empty());

/// `http.client.request.duration` of the global meter provider, as it is now: a client may be older than telemetry is.
pub(super) fn duration() -> Histogram<f64> {
    CACHE.of(&global::meter_provider())
}

/// Makes it now, so that no attempt has to unless the provider is replaced later.
pub(super) fn prepare() {
    CACHE.of(&global::meter_provider());
}

/// The histogram of one provider. To make it takes locks of the SDK, which a collection holds while it asks callbacks; none
/// of ours is held meanwhile, so that nobody waits for it who could go on.
struct Cache(ArcSwapOption<Cached>);

struct Cached {
    /// Weak, so that a provider that was replaced can end.
    provider: Weak<Provider>,
    histogram: Histogram<f64>,
}

impl Cache {
    fn of(&self, provider: &Arc<Provider>) -> Histogram<f64> {
        if let Some(known) = self.known(provider) {
            return known;
        }
        let histogram = provider
            .meter("halfbyte-core")
            .f64_histogram("http.client.request.duration")
            .with_description("Duration of HTTP client requests.")
            .with_unit("s")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        self.0.store(Some(Arc::new(Cached { provider: Arc::downgrade(provider), histogram: histogram.clone() })));
        histogram
    }

    fn known(&self, provider: &Arc<Provider>) -> Option<Histogram<f64>> {
        // No other can have its address as long as there is a reference to it.
        let is_of = |cached: &Cached| ptr::addr_eq(cached.provider.as_ptr(), Arc::as_ptr(provider));
        self.0.load().as_deref().filter(|cached| is_of(cached)).map(|cached| cached.histogram.clone())
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use opentelemetry::metrics::noop::NoopMeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    use super::*;

    fn provider() -> (Arc<Provider>, SdkMeterProvider, InMemoryMetricExporter) {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        (Arc::new(provider.clone()), provider, exporter)
    }

    fn count((_, provider, exporter): &(Arc<Provider>, SdkMeterProvider, InMemoryMetricExporter)) -> u64 {
        provider.force_flush().expect("in memory");
        let collected = exporter.get_finished_metrics().expect("in memory");
        let metrics = collected.last().into_iter().flat_map(|last| last.scope_metrics());
        let counts = metrics.flat_map(|scope| scope.metrics()).map(|metric| match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                histogram.data_points().map(|point| point.count()).sum::<u64>()
            }
            other => panic!("not a histogram: {other:?}"),
        });
        counts.sum()
    }

    #[test]
    fn what_is_measured_goes_to_the_provider_that_there_is_now() {
        let cache = Cache(ArcSwapOption::const_empty());
        let before: Arc<Provider> = Arc::new(NoopMeterProvider::new());
        cache.of(&before).record(1.0, &[]);
        let (first, second) = (provider(), provider());
        for (provider, times) in [(&first, 2), (&second, 3), (&first, 1)] {
            (0..times).for_each(|_| cache.of(&provider.0).record(1.0, &[]));
        }
        assert_eq!((count(&first), count(&second)), (3, 3));
    }

    #[test]
    fn the_histogram_is_made_once_and_keeps_no_provider_alive() {
        let cache = Cache(ArcSwapOption::const_empty());
        let (provider, ..) = provider();
        cache.of(&provider);
        assert_eq!(measure(|| drop(cache.of(&provider))).count_total, 0);
        assert_eq!(Arc::strong_count(&provider), 1);
    }

    #[test]
    fn a_client_that_is_built_has_the_histogram_of_the_provider_that_there_is() {
        // No other test of this binary sets one.
        global::set_meter_provider(NoopMeterProvider::new());
        let provider = global::meter_provider();
        assert!(CACHE.known(&provider).is_none());
        crate::client::Client::new().expect("TLS is there");
        assert!(CACHE.known(&provider).is_some());
    }
}
