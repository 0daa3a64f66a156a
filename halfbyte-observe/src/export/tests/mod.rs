//! The pipeline as a whole, over real sockets and on a real disk, and its rules under random answers.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test, helpers included")]

mod adoption;
mod answers;
mod backlog;
mod metrics;
mod order;
mod outage;
mod shutdown;
mod signals;
mod tls;

use std::path::Path;
use std::time::Duration;

use halfbyte_core::config::Config;
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::Resource;

use super::{Built, Plan, Providers};
use crate::chain::Chain;
use crate::testing::Receiver;
use crate::{Instrumentation, Signal, Telemetry};

const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];

/// Longer than anything takes that goes well.
const LONG: Duration = Duration::from_secs(30);

/// A product with an SDK of its own.
struct Product {
    providers: Providers,
    telemetry: Telemetry,
}

impl Product {
    /// Sends what it makes to `receiver`, as soon as it can.
    fn new(receiver: &Receiver, variables: &[(&str, &str)], spool: Option<&Path>) -> Self {
        let endpoint = receiver.endpoint();
        let usual = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
        let variables: Vec<_> = usual.iter().chain(variables).copied().collect();
        let plan = Plan::read(&Config::parse(variables).expect("valid").other).expect("valid");
        let resource = Resource::builder_empty().with_service_name("parcel").build();
        let built = Providers::build(&plan, &resource, &Chain::default(), spool).expect("valid");
        let Built { providers, export, .. } = built;
        Self { telemetry: Telemetry::new(providers.clone(), export, Instrumentation::process()), providers }
    }

    /// Of traces alone.
    fn of_traces(receiver: &Receiver, variables: &[(&str, &str)], spool: Option<&Path>) -> Self {
        let others = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
        Self::new(receiver, &[&others, variables].concat(), spool)
    }

    fn spans(&self, count: usize) {
        let tracer = self.providers.traces.as_ref().expect("traces").provider.tracer("test");
        (0..count).for_each(|number| tracer.start(format!("span {number}")).end());
    }

    fn logs(&self, count: usize) {
        let logger = self.providers.logs.as_ref().expect("logs").logger("test");
        for number in 0..count {
            let mut record = logger.create_log_record();
            record.set_target("parcel::labels");
            record.set_body(format!("record {number}").into());
            logger.emit(record);
        }
    }
}

/// How many requests of a signal came.
fn requests(receiver: &Receiver, signal: Signal) -> usize {
    receiver.requests().iter().filter(|request| request.signal == Some(signal)).count()
}
