//! The state of everything that readiness asks, as metrics.

use halfbyte_core::lifecycle::Health;
use halfbyte_observe::opentelemetry::{KeyValue, global};

/// Registers `halfbyte.check.ready` (1 or 0) and `halfbyte.check.age` (seconds), each by `halfbyte.check.name`.
pub(crate) fn register(health: &Health) {
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

fn name(name: &str) -> KeyValue {
    KeyValue::new("halfbyte.check.name", name.to_owned())
}
