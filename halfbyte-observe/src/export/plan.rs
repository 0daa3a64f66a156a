//! What is exported, as the `OTEL_*` variables say. Reads no environment and opens nothing.

use std::time::Duration;

use halfbyte_core::config::Variables;
use opentelemetry_sdk::metrics::Temporality;

use super::destination::Destination;
use crate::{Error, Signal};

const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";

/// What is exported; `None` is a signal that no variable names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// `OTEL_SDK_DISABLED`: no provider at all.
    pub(crate) disabled: bool,
    pub(crate) traces: Option<Route>,
    pub(crate) metrics: Option<Route>,
    pub(crate) logs: Option<Route>,
    pub(super) temporality: Temporality,
    /// Whether metrics are kept for who scrapes them, exported or not.
    pub(crate) scraped: bool,
    /// Whether histograms have exponential buckets.
    pub(super) exponential: bool,
}

/// Where one signal goes, and in what portions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(super) to: Destination,
    pub(super) pace: Pace,
}

/// How much is gathered before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// The longest that something waits for more of its kind; of metrics, the time between two collections.
    pub(super) delay: Duration,
    /// How many the queue holds.
    pub(super) queue: usize,
    /// How many are sent at once.
    pub(super) batch: usize,
}

impl Plan {
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self { disabled: true, ..Self::default() });
        }
        Ok(Self {
            disabled: false,
            traces: route(variables, Signal::Traces, |variables| batches(variables, "OTEL_BSP", 5000))?,
            metrics: route(variables, Signal::Metrics, collections)?,
            logs: route(variables, Signal::Logs, |variables| batches(variables, "OTEL_BLRP", 1000))?,
            scraped: false,
            temporality: temporality(variables)?,
            exponential: exponential(variables)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none() && self.logs.is_none()
    }
}

fn route(
    variables: &Variables,
    signal: Signal,
    pace: impl FnOnce(&Variables) -> Result<(Pace, Duration), Error>,
) -> Result<Option<Route>, Error> {
    if !exported(variables, signal)? {
        return Ok(None);
    }
    let Some(mut to) = Destination::read(variables, signal)? else { return Ok(None) };
    let (pace, timeout) = pace(variables)?;
    // The processor's limit holds for an attempt: what fails is tried again from the backlog, without a limit.
    to.timeout = to.timeout.min(timeout);
    Ok(Some(Route { to, pace }))
}

/// Whether the list of exporters has `otlp` in it, which it has unless it is set.
fn exported(variables: &Variables, signal: Signal) -> Result<bool, Error> {
    let name = signal.variable("OTEL", "EXPORTER");
    let Some(list) = variables.get(&name) else { return Ok(true) };
    // The specification compares known values without their case.
    let names: Vec<String> =
        list.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
    for exporter in &names {
        match exporter.as_str() {
            "otlp" => {}
            "none" if names.len() == 1 => {}
            "none" => return Err(Error::configuration(&name, "none goes with no other exporter")),
            // The log is on the console whatever is exported.
            "console" if signal == Signal::Logs => {}
            "console" => return Err(Error::configuration(&name, "console is there for logs only; use otlp or none")),
            other => {
                return Err(Error::configuration(
                    &name,
                    format_args!("\"{other}\" is not supported; use otlp or none"),
                ));
            }
        }
    }
    Ok(names.iter().any(|name| name == "otlp"))
}

/// The variables of a batch processor, and the limit of an export.
fn batches(variables: &Variables, prefix: &str, delay: u64) -> Result<(Pace, Duration), Error> {
    let count = |suffix: &str, default| number(variables, &format!("{prefix}_{suffix}"), default);
    let millis = |suffix: &str, default| count(suffix, default).map(Duration::from_millis);
    let queue = count("MAX_QUEUE_SIZE", 2048)?;
    let name = format!("{prefix}_MAX_EXPORT_BATCH_SIZE");
    let batch = number(variables, &name, 512.min(queue))?;
    if batch > queue {
        return Err(Error::configuration(&name, format_args!("must be at most {prefix}_MAX_QUEUE_SIZE, {queue}")));
    }
    let pace = Pace { delay: millis("SCHEDULE_DELAY", delay)?, queue: size(queue), batch: size(batch) };
    Ok((pace, millis("EXPORT_TIMEOUT", 30_000)?))
}

/// The variables of the periodic reader. A queue of metrics holds encoded collections, of which few are ever there.
fn collections(variables: &Variables) -> Result<(Pace, Duration), Error> {
    let delay = Duration::from_millis(number(variables, "OTEL_METRIC_EXPORT_INTERVAL", 60_000)?);
    let timeout = Duration::from_millis(number(variables, "OTEL_METRIC_EXPORT_TIMEOUT", 30_000)?);
    Ok((Pace { delay, queue: 256, batch: 1 }, timeout))
}

fn temporality(variables: &Variables) -> Result<Temporality, Error> {
    let value = variables.get(TEMPORALITY).unwrap_or("cumulative");
    // Compares without case.
    value.trim().parse().map_err(|()| Error::configuration(TEMPORALITY, "must be cumulative, delta or lowmemory"))
}

fn exponential(variables: &Variables) -> Result<bool, Error> {
    let value = variables.get(AGGREGATION).unwrap_or("explicit_bucket_histogram");
    match value.trim().to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(false),
        "base2_exponential_bucket_histogram" => Ok(true),
        _ => {
            let message = "must be explicit_bucket_histogram or base2_exponential_bucket_histogram";
            Err(Error::configuration(AGGREGATION, message))
        }
    }
}

/// A whole number above 0.
pub(super) fn number(variables: &Variables, name: &str, default: u64) -> Result<u64, Error> {
    let Some(value) = variables.get(name) else { return Ok(default) };
    let number = value.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Error::configuration(name, "must be a whole number above 0 (times are in milliseconds)"))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;

    use super::*;

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, Error> {
        Plan::read(&Config::parse(variables.iter().copied()).expect("valid").other)
    }

    fn pace(route: Option<Route>) -> (u64, usize, usize, u64) {
        let Route { to, pace } = route.expect("exported");
        let millis = |time: Duration| u64::try_from(time.as_millis()).expect("short");
        (millis(pace.delay), pace.queue, pace.batch, millis(to.timeout))
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let plan = plan(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_SERVICE_NAME", "x")]).expect("valid");
        assert!(plan.is_empty() && !plan.disabled);
    }

    #[test]
    fn the_endpoint_of_one_signal_turns_on_no_other() {
        let plan = plan(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/in?x=1")]).expect("valid");
        assert!(plan.traces.is_some() && plan.metrics.is_none() && plan.logs.is_none());
    }

    #[test]
    fn a_signal_is_exported_when_its_list_of_exporters_has_otlp() {
        for (list, exported) in [("otlp", true), (" otlp, console ", true), ("none", false), ("console", false)] {
            let plan = plan(&[ALL, ("OTEL_LOGS_EXPORTER", list)]).expect(list);
            assert_eq!((plan.logs.is_some(), plan.traces.is_some(), plan.metrics.is_some()), (exported, true, true));
        }
    }

    #[test]
    fn values_are_known_in_any_case() {
        let plan = plan(&[
            ALL,
            ("OTEL_TRACES_EXPORTER", "OTLP"),
            ("OTEL_LOGS_EXPORTER", "None"),
            (TEMPORALITY, "DELTA"),
            (AGGREGATION, "Base2_Exponential_Bucket_Histogram"),
        ])
        .expect("valid");
        assert!(plan.traces.is_some() && plan.logs.is_none() && plan.exponential);
        assert_eq!(plan.temporality, Temporality::Delta);
        assert!(!self::plan(&[ALL, (AGGREGATION, "EXPLICIT_BUCKET_HISTOGRAM")]).expect("valid").exponential);
    }

    #[test]
    fn a_disabled_sdk_exports_nothing_and_checks_nothing() {
        let plan = plan(&[("OTEL_SDK_DISABLED", "True"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense")]).expect("valid");
        assert!(plan.disabled && plan.is_empty());
        assert!(!self::plan(&[("OTEL_SDK_DISABLED", "yes"), ALL]).expect("valid").disabled);
    }

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let plan = plan(&[ALL]).expect("valid");
        assert_eq!(pace(plan.traces), (5000, 2048, 512, 10_000));
        assert_eq!(pace(plan.logs), (1000, 2048, 512, 10_000));
        assert_eq!(pace(plan.metrics).0, 60_000);
        assert_eq!(plan.temporality, Temporality::Cumulative);
    }

    #[test]
    fn every_variable_of_the_processors_and_the_reader_is_obeyed() {
        let plan = plan(&[
            ALL,
            ("OTEL_BSP_SCHEDULE_DELAY", "11"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "700"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "12"),
            ("OTEL_BLRP_MAX_QUEUE_SIZE", "4000"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "40"),
            ("OTEL_BLRP_EXPORT_TIMEOUT", "50000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "13"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "800"),
            (TEMPORALITY, "LowMemory"),
        ])
        .expect("valid");
        // A batch that nobody asked for is no larger than the queue.
        assert_eq!(pace(plan.traces), (11, 100, 100, 700));
        assert_eq!(pace(plan.logs), (12, 4000, 40, 10_000));
        let (delay, _, _, timeout) = pace(plan.metrics);
        assert_eq!((delay, timeout), (13, 800));
        assert_eq!(plan.temporality, Temporality::LowMemory);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name_and_what_to_do() {
        for (variable, says) in [
            (("OTEL_TRACES_EXPORTER", "zipkin"), "OTEL_TRACES_EXPORTER: \"zipkin\" is not supported; use otlp or none"),
            (("OTEL_TRACES_EXPORTER", "otlp,console"), "console is there for logs only"),
            (("OTEL_LOGS_EXPORTER", "otlp,none"), "none goes with no other"),
            (("OTEL_BSP_MAX_QUEUE_SIZE", "0"), "OTEL_BSP_MAX_QUEUE_SIZE: must be a whole number above 0"),
            (("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"), "at most OTEL_BSP_MAX_QUEUE_SIZE, 2048"),
            (("OTEL_BLRP_SCHEDULE_DELAY", "1s"), "OTEL_BLRP_SCHEDULE_DELAY: must be"),
            (("OTEL_METRIC_EXPORT_INTERVAL", "-1"), "milliseconds"),
            ((AGGREGATION, "linear"), "must be explicit_bucket_histogram or base2"),
            ((TEMPORALITY, "gamma"), "must be cumulative, delta or lowmemory"),
        ] {
            let error = plan(&[ALL, variable]).expect_err(says);
            assert!(error.is_configuration() && error.to_string().contains(says), "{error}");
        }
    }
}
