/// Where in its life a process is. Phases follow each other in this order and are never left backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Reading configuration and loading what must be there first; not ready.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop: no longer ready, still accepting, so that load balancers notice before connections are refused.
    LameDuck,
    /// No new connections; requests in flight go on to their end, new ones on old connections are refused.
    Draining,
    /// Requests are done; usage and then telemetry are written out.
    Flushing,
    /// Nothing is left to do.
    Closed,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 6] =
        [Phase::Starting, Phase::Ready, Phase::LameDuck, Phase::Draining, Phase::Flushing, Phase::Closed];

    /// The phase as logs and the admin listener show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::LameDuck => "lame-duck",
            Phase::Draining => "draining",
            Phase::Flushing => "flushing",
            Phase::Closed => "closed",
        }
    }
}
