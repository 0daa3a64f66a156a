//! The state of everything that readiness asks, of load and of billing, as metrics.

use halfbyte_billing::Stats;
use halfbyte_core::lifecycle::Health;
use halfbyte_observe::opentelemetry::metrics::AsyncInstrument;
use halfbyte_observe::opentelemetry::{KeyValue, global};

use crate::layers::LoadShedLayer;

/// Registers `halfbyte.check.ready` (1 or 0) and `halfbyte.check.age` (seconds), each by `halfbyte.check.name`.
pub(crate) fn register_health(health: &Health) {
    let meter = global::meter("halfbyte");
    let (for_ready, for_age) = (health.clone(), health.clone());
    meter
        .u64_observable_gauge("halfbyte.check.ready")
        .with_description("Whether requests can be served with this part as it is")
        .with_callback(move |gauge| {
            for check in for_ready.report() {
                let attributes = [name(&check.name), KeyValue::new("halfbyte.check.state", check.state)];
                gauge.observe(u64::from(check.ready), &attributes);
            }
        })
        .build();
    meter
        .f64_observable_gauge("halfbyte.check.age")
        .with_unit("s")
        .with_description("How long ago the backend of this part last confirmed it")
        .with_callback(move |gauge| {
            for check in for_age.report() {
                if let Some(age) = check.age {
                    gauge.observe(age.as_secs_f64(), &[name(&check.name)]);
                }
            }
        })
        .build();
}

/// Registers `halfbyte.load_shed.limit`, and `halfbyte.load_shed.in_flight` by `halfbyte.load_shed.state`.
pub(crate) fn register_load(load: impl Fn() -> Option<LoadShedLayer> + Clone + Send + Sync + 'static) {
    let meter = global::meter("halfbyte");
    let of_limit = load.clone();
    meter
        .u64_observable_gauge("halfbyte.load_shed.limit")
        .with_unit("{request}")
        .with_description("How many requests may be handled at once, until their response begins")
        .with_callback(move |gauge| _ = of_limit().map(|load| gauge.observe(load.limit() as u64, &[])))
        .build();
    let state = |state: &'static str| [KeyValue::new("halfbyte.load_shed.state", state)];
    let (handling, streaming) = (state("handling"), state("streaming"));
    meter
        .u64_observable_gauge("halfbyte.load_shed.in_flight")
        .with_unit("{request}")
        .with_description("How many requests hold a place")
        .with_callback(move |gauge| {
            if let Some(load) = load() {
                gauge.observe(load.handling(), &handling);
                gauge.observe(load.streaming(), &streaming);
            }
        })
        .build();
}

/// Registers what `stats` says of billing; it says nothing more once billing is gone.
pub(crate) fn register_usage(stats: impl Fn() -> Option<Stats> + Clone + Send + Sync + 'static) {
    let meter = global::meter("halfbyte");
    let level = |name, unit, description, read: fn(&Stats) -> u64| {
        let stats = stats.clone();
        let observe = move |gauge: &dyn AsyncInstrument<u64>| _ = stats().map(|stats| gauge.observe(read(&stats), &[]));
        meter.u64_observable_gauge(name).with_unit(unit).with_description(description).with_callback(observe).build();
    };
    let total = |name, unit, description, read: fn(&Stats) -> u64| {
        let stats = stats.clone();
        let observe = move |total: &dyn AsyncInstrument<u64>| _ = stats().map(|stats| total.observe(read(&stats), &[]));
        meter.u64_observable_counter(name).with_unit(unit).with_description(description).with_callback(observe).build();
    };
    level(
        "halfbyte.billing.backlog",
        "{event}",
        "Usage on the disk of this machine that is not in the store yet",
        |s| s.backlog as u64,
    );
    level("halfbyte.billing.stranded", "{unit}", "What processes that have gone hold until their lease ends", |s| {
        s.stranded
    });
    total("halfbyte.billing.reclaimed", "{unit}", "What was given back of processes that have gone", |s| s.reclaimed);
    total("halfbyte.billing.overage", "{unit}", "What was used beyond what there was", |s| s.overage);
    total("halfbyte.billing.conflicts", "{event}", "Events and keys that were used again for something else", |s| {
        s.conflicts
    });
    total("halfbyte.billing.late", "{event}", "Events that came after their period was closed", |s| s.late);
    total("halfbyte.billing.refused", "{event}", "What the store refused for what is in it", |s| s.refused);
}

fn name(name: &str) -> KeyValue {
    KeyValue::new("halfbyte.check.name", name.to_owned())
}
