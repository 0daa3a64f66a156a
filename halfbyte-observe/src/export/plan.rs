//! Which signals go where, as the `OTEL_*` variables say. Reads no environment and opens nothing.

use std::time::Duration;

use halfbyte_core::config::Variables;
use http::Uri;

use crate::{Error, Signal};

/// The longest that one attempt to send may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where one signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) endpoint: String,
    pub(crate) timeout: Duration,
}

/// What is exported; `None` is a signal that no variable names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `OTEL_SDK_DISABLED`: no provider at all.
    pub(crate) disabled: bool,
    pub(crate) traces: Option<Destination>,
    pub(crate) metrics: Option<Destination>,
    pub(crate) logs: Option<Destination>,
}

impl Plan {
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self { disabled: true, ..Self::default() });
        }
        let destination = |signal| destination(variables, signal);
        Ok(Self {
            disabled: false,
            traces: destination(Signal::Traces)?,
            metrics: destination(Signal::Metrics)?,
            logs: destination(Signal::Logs)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none() && self.logs.is_none()
    }
}

fn destination(variables: &Variables, signal: Signal) -> Result<Option<Destination>, Error> {
    let exporter = signal.variable("OTEL", "EXPORTER");
    match variables.get(&exporter) {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            return Err(Error::configuration(
                &exporter,
                format_args!("\"{other}\" is not supported; use otlp or none"),
            ));
        }
    }
    let Some(endpoint) = endpoint(variables, signal)? else { return Ok(None) };
    require_protobuf(variables, signal)?;
    Ok(Some(Destination { endpoint, timeout: timeout(variables, signal)? }))
}

/// The variable of one signal, or else the one of all.
fn either<'a>(variables: &'a Variables, signal: Signal, suffix: &str) -> Option<(String, &'a str)> {
    let own = signal.variable("OTEL_EXPORTER_OTLP", suffix);
    match variables.get(&own) {
        Some(value) => Some((own, value)),
        None => {
            let all = format!("OTEL_EXPORTER_OTLP_{suffix}");
            let value = variables.get(&all)?;
            Some((all, value))
        }
    }
}

/// The endpoint of one signal is taken as it is; to the one of all signals the path of the signal is added.
fn endpoint(variables: &Variables, signal: Signal) -> Result<Option<String>, Error> {
    let Some((name, value)) = either(variables, signal, "ENDPOINT") else { return Ok(None) };
    let uri = value.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    // The value is not repeated: people put passwords into URLs.
    if uri.is_none() {
        return Err(Error::configuration(&name, "must be a URL such as http://127.0.0.1:4318"));
    }
    let own = name != "OTEL_EXPORTER_OTLP_ENDPOINT";
    Ok(Some(if own { value.to_owned() } else { format!("{}/v1/{signal}", value.trim_end_matches('/')) }))
}

fn require_protobuf(variables: &Variables, signal: Signal) -> Result<(), Error> {
    match either(variables, signal, "PROTOCOL") {
        None | Some((_, "http/protobuf")) => Ok(()),
        Some((name, other)) => Err(Error::configuration(
            &name,
            format_args!("\"{other}\" is not a protocol of this version; use http/protobuf (port 4318 of a collector)"),
        )),
    }
}

fn timeout(variables: &Variables, signal: Signal) -> Result<Duration, Error> {
    let Some((name, value)) = either(variables, signal, "TIMEOUT") else { return Ok(TIMEOUT) };
    let millis = value.parse().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| Error::configuration(&name, "must be a whole number of milliseconds above 0"))?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;

    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, Error> {
        Plan::read(&Config::parse(variables.iter().copied()).expect("valid").other)
    }

    fn to(endpoint: &str) -> Option<Destination> {
        Some(Destination { endpoint: endpoint.to_owned(), timeout: TIMEOUT })
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let plan = plan(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_SERVICE_NAME", "x")]).expect("valid");
        assert!(plan.is_empty() && !plan.disabled);
    }

    #[test]
    fn one_endpoint_serves_all_signals_with_the_path_of_each() {
        for endpoint in ["http://collector:4318", "http://collector:4318/"] {
            let plan = plan(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).expect("valid");
            assert_eq!(plan.traces, to("http://collector:4318/v1/traces"));
            assert_eq!(plan.metrics, to("http://collector:4318/v1/metrics"));
            assert_eq!(plan.logs, to("http://collector:4318/v1/logs"));
        }
    }

    #[test]
    fn the_endpoint_of_one_signal_is_taken_as_it_is_and_turns_on_no_other() {
        let plan = plan(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/in?x=1")]).expect("valid");
        assert_eq!(plan.traces, to("https://c/in?x=1"));
        assert_eq!((plan.metrics, plan.logs), (None, None));
    }

    #[test]
    fn a_signal_is_left_out_when_its_exporter_is_none() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let plan = plan(&[all, ("OTEL_LOGS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "otlp")]).expect("valid");
        assert!(plan.traces.is_some() && plan.metrics.is_some() && plan.logs.is_none());
    }

    #[test]
    fn a_disabled_sdk_exports_nothing_and_checks_nothing() {
        let plan = plan(&[("OTEL_SDK_DISABLED", "True"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense")]).expect("valid");
        assert!(plan.disabled && plan.is_empty());
    }

    #[test]
    fn a_timeout_is_in_milliseconds_and_the_one_of_the_signal_wins() {
        let all = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")];
        let plan = plan(&[all[0], all[1], ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "20")]).expect("valid");
        assert_eq!(plan.traces.map(|to| to.timeout), Some(Duration::from_millis(1500)));
        assert_eq!(plan.logs.map(|to| to.timeout), Some(Duration::from_millis(20)));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name_and_what_to_do() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        for (variables, says) in [
            ([all, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not"),
            ([all, ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json")], "use http/protobuf"),
            ([all, ("OTEL_TRACES_EXPORTER", "zipkin")], "use otlp or none"),
            ([all, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "milliseconds"),
            ([all, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "c:4318")], "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: must be a URL"),
            ([all, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "ftp://user:pw@c")], "must be a URL"),
        ] {
            let error = plan(&variables).expect_err(says);
            assert!(error.is_configuration() && error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }
}
