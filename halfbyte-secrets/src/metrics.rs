use halfbyte_core::live::Status;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// `halfbyte.secrets.reads`: what came of asking for a secret, and of what was said of it, by name and outcome.
pub(crate) fn reads(meter: &Meter) -> Counter<u64> {
    let description = "What came of asking the backend for a secret, and of what was said of it";
    meter.u64_counter("halfbyte.secrets.reads").with_description(description).build()
}

/// Registers `halfbyte.secrets.age`, in seconds since the backend last confirmed a secret, and `halfbyte.secrets.generation`,
/// both by name.
pub(crate) fn register_ages(meter: &Meter, statuses: impl Fn() -> Vec<Status> + Clone + Send + Sync + 'static) {
    let for_age = statuses.clone();
    meter
        .f64_observable_gauge("halfbyte.secrets.age")
        .with_unit("s")
        .with_description("How long ago the backend last confirmed the secret")
        .with_callback(move |gauge| {
            for status in for_age() {
                if let Some(age) = status.age() {
                    gauge.observe(age.as_secs_f64(), &[name(&status)]);
                }
            }
        })
        .build();
    meter
        .u64_observable_gauge("halfbyte.secrets.generation")
        .with_description("How many values of the secret this process has had")
        .with_callback(move |gauge| {
            statuses().iter().for_each(|status| gauge.observe(status.generation, &[name(status)]));
        })
        .build();
}

/// A live value is called `secret.NAME`.
fn name(status: &Status) -> KeyValue {
    let name = status.name.strip_prefix("secret.").unwrap_or(&status.name);
    KeyValue::new("halfbyte.secret.name", name.to_owned())
}
