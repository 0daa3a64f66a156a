use std::time::Duration;

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
    /// How long a client may take nothing of what waits for it.
    pub(crate) stall: Duration,
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

    pub(crate) fn limits(self) -> Limits {
        match self {
            Contract::V1 => Limits {
                deadline: Duration::from_secs(30),
                in_flight: 1024,
                overload_pause: Duration::from_secs(1),
                warm_up: Duration::from_secs(10),
                first_byte: Duration::from_secs(10),
                next_head: Duration::from_secs(75),
                head: 64 * 1024,
                streams: 200,
                resets: 20,
                ping: Duration::from_secs(30),
                pong: Duration::from_secs(20),
                body: Duration::from_secs(10),
                stall: Duration::from_secs(60),
                connections: 10_000,
                drain_in_flight: Duration::from_secs(30),
                drain_usage: Duration::from_secs(10),
                drain_tasks: Duration::from_secs(2),
                drain_telemetry: Duration::from_secs(5),
            },
        }
    }
}
