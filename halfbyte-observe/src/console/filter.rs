use halfbyte_core::config::Variables;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;

use crate::Error;

/// Libraries whose own log says little to the people who run a product; and those that send telemetry, so that the
/// traces of a process never show how they are sent.
const QUIET: [&str; 9] =
    ["h2", "hyper", "hyper_util", "opentelemetry", "opentelemetry_sdk", "reqwest", "rustls", "tonic", "tower"];

/// What is logged: as `RUST_LOG` says, or else from INFO up, and of the quiet ones from WARN up.
pub(crate) fn logs(variables: &Variables) -> Result<EnvFilter, Error> {
    match variables.get("RUST_LOG") {
        Some(directives) => EnvFilter::builder().parse(directives).map_err(|error| {
            Error::configuration("RUST_LOG", format_args!("{error}; it must be such as info,my_crate=debug"))
        }),
        None => {
            let quiet = QUIET.iter().filter_map(|target| format!("{target}=warn").parse().ok());
            Ok(quiet.fold(EnvFilter::new("info"), EnvFilter::add_directive))
        }
    }
}

/// What is shown where the log is not: that the program has a fault.
pub(crate) fn panics() -> EnvFilter {
    EnvFilter::new("halfbyte::panic=error")
}

/// Which `tracing` spans are part of traces: those from INFO up, whatever is logged. The line of a request is none of its events: its
/// span says the same, and the line is made for nobody where it is not logged.
pub(crate) fn spans() -> Targets {
    let quiet = QUIET.iter().chain(&["halfbyte::access"]).map(|target| (*target, LevelFilter::OFF));
    Targets::new().with_default(LevelFilter::INFO).with_targets(quiet)
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;

    use super::*;

    fn filter(rust_log: &str) -> Result<EnvFilter, Error> {
        logs(&Config::parse([("RUST_LOG", rust_log)]).expect("valid").other)
    }

    #[test]
    fn the_default_is_info_and_quiet_for_the_plumbing() {
        let shown = filter("").expect("valid").to_string();
        assert!(shown.contains("info") && shown.contains("hyper=warn"), "{shown}");
    }

    #[test]
    fn the_line_of_a_request_is_no_event_of_a_span() {
        assert!(spans().would_enable("parcel", &tracing::Level::INFO));
        assert!(!spans().would_enable("halfbyte::access", &tracing::Level::INFO));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error_that_names_rust_log() {
        let error = filter("my_crate=loud").expect_err("loud is not a level");
        assert!(error.is_configuration() && error.to_string().starts_with("RUST_LOG: "), "{error}");
    }
}
