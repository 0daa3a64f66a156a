//! What tests and demonstrations need to see telemetry.
//!
//! - [`capture`] gives the spans, metrics and log records of one test, in its process and without globals.
//! - [`Receiver`] stands in the place of a collector, behind the exporters of a whole process.
//!
//! Both give the same [`Span`], [`Metric`] and [`Log`], so that an assertion serves for both.

mod all;
mod answer;
mod capture;
mod fault;
mod log;
mod metric;
mod receiver;
mod request;
mod server;
mod span;
mod store;
mod value;

use std::fmt::Write as _;

pub use self::all::All;
pub use self::capture::{Capture, capture};
pub use self::fault::Fault;
pub use self::log::Log;
pub use self::metric::{Exemplar, Metric, Point};
pub use self::receiver::Receiver;
pub use self::span::{Span, SpanEvent, SpanLink};
pub use self::store::{Arrival, Received};
pub use self::value::{Attributes, Scope, Value};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// `None` where the protocol has no id.
fn id(bytes: &[u8]) -> Option<String> {
    bytes.iter().any(|byte| *byte != 0).then(|| hex(bytes))
}
