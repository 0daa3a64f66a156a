/// What became of all the telemetry of this process so far, by signal: what [`Telemetry::stats`](crate::Telemetry::stats)
/// answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Of spans.
    pub traces: SignalStats,
    /// Of data points: a histogram of one series in one collection is one.
    pub metrics: SignalStats,
    /// Of log records.
    pub logs: SignalStats,
}

/// What became of the telemetry of one signal. The books are kept under one lock, so that they balance at any time:
///
/// `created + recovered = queued + in_flight + spooled + exported + dropped.total()`
///
/// All zero where the signal is not exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalStats {
    /// What this process made, and was to be exported.
    pub created: u64,
    /// What an earlier process of this product could not deliver, and left on disk.
    pub recovered: u64,
    /// What waits for more of its kind.
    pub queued: u64,
    /// What is being sent and is in no backlog.
    pub in_flight: u64,
    /// What waits in the backlog for the collector to come back: on disk, or in memory where there is no disk.
    pub spooled: u64,
    /// What the collector took.
    pub exported: u64,
    /// What is lost, and why.
    pub dropped: Dropped,
    /// What last went wrong, for people: an error, or what a collector that rejected something had to say.
    pub last_error: Option<String>,
}

/// What is lost, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// More was made than the queue holds until it is sent: see `OTEL_BSP_MAX_QUEUE_SIZE` and `OTEL_BLRP_MAX_QUEUE_SIZE`.
    pub queue_full: u64,
    /// The collector was away for longer than the backlog could hold; the oldest went first.
    pub backlog_full: u64,
    /// The collector refused the request for good, such as with 400 or 401.
    pub rejected: u64,
    /// The collector took the rest of the request, but not these.
    pub partial_success: u64,
    /// Could not be read back from disk.
    pub corrupt: u64,
    /// Came after the shutdown, or could neither be sent nor kept when its time was over.
    pub shutdown: u64,
    /// Could not be encoded: a fault of this crate or of the OpenTelemetry crates.
    pub encode: u64,
}

impl Dropped {
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { queue_full, backlog_full, rejected, partial_success, corrupt, shutdown, encode } = self;
        queue_full + backlog_full + rejected + partial_success + corrupt + shutdown + encode
    }
}

impl SignalStats {
    /// Whether the equation holds, which it always does.
    pub fn is_balanced(&self) -> bool {
        self.created + self.recovered == self.unsent() + self.exported + self.dropped.total()
    }

    /// What is neither sent nor lost.
    pub(crate) fn unsent(&self) -> u64 {
        self.queued + self.in_flight + self.spooled
    }
}
