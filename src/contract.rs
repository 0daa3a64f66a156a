use std::fmt::Write as _;
use std::time::Duration;

use halfbyte_core::Problem;
use halfbyte_core::config::Config;
use halfbyte_core::problem::{self, Kind, Quota};
use http::header::CONTENT_LENGTH;

use crate::{names, stack};

/// A dated version of everything that `CONTRACT.md` fixes: layer order, refusals, names, budgets and limits.
///
/// A product passes in the version that it was written against; changing a behaviour means a new version, never an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contract {
    /// 2026-11-21, the first.
    V1,
}

/// The numbers that a contract fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From the request's head to the response's head.
    pub(crate) deadline: Duration,
    /// Requests at once, over all connections.
    pub(crate) in_flight: usize,
    /// How many requests at once are let in however long they take.
    pub(crate) in_flight_floor: usize,
    /// What an overloaded server asks clients to wait.
    pub(crate) overload_pause: Duration,
    /// How long the first request may be kept waiting for what it may need.
    pub(crate) warm_up: Duration,
    /// From the opening of a connection until its first bytes tell its protocol.
    pub(crate) first_byte: Duration,
    /// From the end of a request to the next one's whole head: longer than load balancers keep idle connections for, so
    /// that it is they who close them.
    pub(crate) next_head: Duration,
    /// How large the head of a request may be, in bytes.
    pub(crate) head: usize,
    /// Streams at once on a connection of HTTP/2.
    pub(crate) streams: u32,
    /// Streams that a client has opened and reset before they were looked at, at most; one more ends the connection.
    pub(crate) resets: usize,
    /// How often the other end of a connection of HTTP/2 is asked whether it is there.
    pub(crate) ping: Duration,
    /// How long it may take to answer that.
    pub(crate) pong: Duration,
    /// How long a client may take for each KiB of a request's body.
    pub(crate) body: Duration,
    /// How long a client may take for `least` of what waits for it, or for all.
    pub(crate) stall: Duration,
    /// What it takes meanwhile, in bytes.
    pub(crate) least: usize,
    /// Connections at once; further ones wait to be accepted.
    pub(crate) connections: usize,
    /// How long requests in flight may go on in a drain.
    pub(crate) drain_in_flight: Duration,
    /// How long usage may take to be written in a drain.
    pub(crate) drain_usage: Duration,
    /// How long background tasks may take to end in a drain.
    pub(crate) drain_tasks: Duration,
    /// How long telemetry may take to be sent in a drain.
    pub(crate) drain_telemetry: Duration,
}

impl Contract {
    /// The version as the manifest shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Contract::V1 => "2026-11-21 (V1)",
        }
    }

    /// Everything that this version pins, a line each: layers, refusals and their headers, limits, defaults, names of attributes and
    /// metrics. A product whose text differs behaves otherwise.
    ///
    /// ```
    /// use halfbyte::Contract;
    ///
    /// assert!(Contract::V1.pinned().contains("layer 1 request-id\n"));
    /// assert!(Contract::V1.pinned().contains("limit deadline_ms 30000\n"));
    /// ```
    pub fn pinned(self) -> String {
        let mut text = format!("contract {}\n", self.as_str());
        let mut line = |what: &str, which: &dyn std::fmt::Display, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            _ = writeln!(text, "{what} {which} {value}");
        };
        stack::ORDER.iter().zip(1..).for_each(|(layer, place)| line("layer", &place, layer));
        for kind in Kind::all() {
            let row = format!("{} {} grpc={} {:?}", kind.urn(), kind.status().as_u16(), kind.grpc_code(), kind.title());
            line("refusal", &kind.slug(), &row);
        }
        for refusal in refusals() {
            each_header(&refusal, |which, header| line(which, &refusal.kind().slug(), &header));
        }
        self.limits().each().iter().for_each(|(name, value)| line("limit", name, value));
        line("default", &"lame_duck_ms", &millis(Config::LAME_DUCK));
        names::METRICS.iter().for_each(|(name, unit)| line("metric", name, unit));
        names::ATTRIBUTES.iter().for_each(|(name, on)| line("attribute", name, on));
        text
    }

    pub(crate) fn limits(self) -> Limits {
        match self {
            Contract::V1 => Limits {
                deadline: Duration::from_secs(30),
                in_flight: 1024,
                in_flight_floor: 16,
                overload_pause: Duration::from_secs(1),
                warm_up: Duration::from_secs(10),
                first_byte: Duration::from_secs(10),
                next_head: Duration::from_secs(75),
                head: 64 * 1024,
                streams: 200,
                resets: 20,
                ping: Duration::from_secs(30),
                pong: Duration::from_secs(60),
                body: Duration::from_secs(10),
                stall: Duration::from_secs(60),
                least: 16 * 1024,
                connections: 10_000,
                drain_in_flight: Duration::from_secs(30),
                drain_usage: Duration::from_secs(10),
                drain_tasks: Duration::from_secs(2),
                drain_telemetry: Duration::from_secs(5),
            },
        }
    }
}

impl Limits {
    /// All of them by name, durations in milliseconds.
    pub(crate) fn each(&self) -> [(&'static str, u64); 20] {
        // Named one by one, so that a limit that is new is not forgotten here.
        let Self {
            deadline,
            in_flight,
            in_flight_floor,
            overload_pause,
            warm_up,
            first_byte,
            next_head,
            head,
            streams,
            resets,
            ping,
            pong,
            body,
            stall,
            least,
            connections,
            drain_in_flight,
            drain_usage,
            drain_tasks,
            drain_telemetry,
        } = *self;
        [
            ("deadline_ms", millis(deadline)),
            ("requests_in_flight", in_flight as u64),
            ("requests_in_flight_floor", in_flight_floor as u64),
            ("overload_pause_ms", millis(overload_pause)),
            ("warm_up_ms", millis(warm_up)),
            ("first_byte_ms", millis(first_byte)),
            ("next_head_ms", millis(next_head)),
            ("head_bytes", head as u64),
            ("streams", u64::from(streams)),
            ("resets", resets as u64),
            ("ping_ms", millis(ping)),
            ("pong_ms", millis(pong)),
            ("body_kib_ms", millis(body)),
            ("stall_ms", millis(stall)),
            ("stall_bytes", least as u64),
            ("connections", connections as u64),
            ("drain_in_flight_ms", millis(drain_in_flight)),
            ("drain_usage_ms", millis(drain_usage)),
            ("drain_tasks_ms", millis(drain_tasks)),
            ("drain_telemetry_ms", millis(drain_telemetry)),
        ]
    }

    /// From the end of the lame duck to the end of the process, at most.
    pub(crate) fn drain(&self) -> Duration {
        self.drain_in_flight + self.drain_usage + self.drain_tasks + self.drain_telemetry
    }
}

/// Each refusal in each of its forms.
fn refusals() -> [Problem; 18] {
    let (second, detail) = (Duration::from_secs(1), "why");
    let (hour, algorithms) = (3600 * second, "ALGS");
    let quota = Quota { name: "FEATURE".into(), limit: 10, remaining: 2, window: hour, resets_in: second };
    [
        Problem::unauthenticated(),
        Problem::invalid_token(detail),
        Problem::invalid_token(detail).dpop(algorithms),
        Problem::invalid_dpop_proof(detail).dpop(algorithms),
        Problem::use_dpop_nonce("NONCE").dpop(algorithms),
        Problem::step_up_required("ACR", Some(hour)),
        Problem::step_up_required("ACR", None),
        Problem::step_up_required("", Some(hour)),
        Problem::insufficient_scope(&["ONE", "ANOTHER"]),
        Problem::forbidden(detail),
        Problem::not_entitled("FEATURE"),
        Problem::payment_required(detail),
        Problem::quota_exhausted(quota),
        Problem::unavailable(second),
        Problem::overloaded(second),
        Problem::draining(),
        Problem::deadline_exceeded(),
        Problem::internal(),
    ]
    .map(|refusal| refusal.resource_metadata("METADATA"))
}

/// What stands in the head of a refusal over HTTP and as gRPC, but for the words of its detail.
fn each_header(refusal: &Problem, mut each: impl FnMut(&str, String)) {
    for (which, grpc) in [("header", false), ("metadata", true)] {
        let response = refusal.to_response::<()>(&problem::Context { grpc, ..problem::Context::default() });
        let headers = response.headers().iter().filter(|(name, _)| *name != CONTENT_LENGTH);
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().replace(refusal.detail(), "...");
        let mut headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {}", text(value))).collect();
        headers.sort();
        headers.into_iter().for_each(|header| each(which, header));
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_each_refusal_are_pinned() {
        let forms = refusals();
        for kind in Kind::all() {
            assert!(forms.iter().any(|refusal| refusal.kind() == kind), "{}", kind.slug());
        }
    }
}
