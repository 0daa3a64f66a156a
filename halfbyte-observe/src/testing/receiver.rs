use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::server::{Shared, serve};
use super::{All, Arrival, Fault, Log, Metric, Received, Span};

/// Receives OTLP as a collector does, over HTTP/protobuf and over gRPC on the same port, and keeps all of it in memory.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use halfbyte_observe::testing::{Fault, Receiver};
///
/// let receiver = Receiver::start().await?;
/// assert!(receiver.endpoint().starts_with("http://127.0.0.1:"));
/// assert!(receiver.spans().is_empty());
///
/// // It can be as bad as collectors are.
/// receiver.fail_next(2, Fault::throttled(None));
/// receiver.close().await;
/// receiver.open().await?;
/// # Ok(()) }
/// ```
///
/// Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    // None while it is closed.
    server: Mutex<Option<JoinSet<()>>>,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        Self::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// The address is taken, or is none of this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let receiver = Self { address, shared: Arc::default(), server: Mutex::default() };
        receiver.listen(listener);
        Ok(receiver)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` must be for telemetry to arrive here, over either protocol.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    pub fn spans(&self) -> All<Span> {
        All(self.shared.received.borrow().spans.clone())
    }

    /// The metrics so far: each once for every time that it was sent.
    pub fn metrics(&self) -> All<Metric> {
        All(self.shared.received.borrow().metrics.clone())
    }

    /// The metric with this name as it was sent last.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.shared.received.borrow().metrics.iter().rfind(|metric| metric.name == name).cloned()
    }

    /// The names of the metrics so far, each once.
    pub fn metric_names(&self) -> Vec<String> {
        self.shared.received.borrow().metric_names.clone()
    }

    /// The log records so far.
    pub fn logs(&self) -> All<Log> {
        All(self.shared.received.borrow().logs.clone())
    }

    /// The requests so far, also those of which nothing was kept.
    pub fn requests(&self) -> Vec<Arrival> {
        self.shared.received.borrow().requests.clone()
    }

    /// Everything so far, at one instant.
    pub fn received(&self) -> Received {
        self.shared.received.borrow().clone()
    }

    /// Forgets everything so far, also what it tells duplicates by.
    pub fn clear(&self) {
        self.shared.received.send_replace(Received::default());
    }

    /// Waits until `enough` says so of what was received, up to `within`; answers whether it did. Cancel safe.
    #[must_use = "it may not have arrived"]
    pub async fn wait_for(&self, enough: impl FnMut(&Received) -> bool, within: Duration) -> bool {
        let mut received = self.shared.received.subscribe();
        tokio::time::timeout(within, received.wait_for(enough)).await.is_ok()
    }

    /// Every request that comes from now on meets `fault`, until another one is named or it [recovers](Self::recover).
    /// Those that are under way are not affected.
    pub fn fail(&self, fault: Fault) {
        self.shared.faults.always(fault);
    }

    /// The next `times` requests meet `fault`, after those named before and ahead of what [`fail`](Self::fail) said.
    /// Requests that cannot be read do not count.
    pub fn fail_next(&self, times: usize, fault: Fault) {
        self.shared.faults.next(times, fault);
    }

    /// Nothing goes wrong from now on. Requests that hang stay so, and a [closed](Self::close) port stays closed.
    pub fn recover(&self) {
        self.shared.faults.none();
    }

    /// Stops to listen, and closes all connections, whatever is under way on them. When it returns, connections are
    /// refused. Dropped half-way, it has begun to.
    pub async fn close(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut server) = server {
            server.shutdown().await;
        }
    }

    /// Listens again, on the same port. Does nothing if it listens.
    ///
    /// # Errors
    ///
    /// Another process has taken the port meanwhile.
    pub async fn open(&self) -> io::Result<()> {
        if self.server.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.listen(listener);
        }
        Ok(())
    }

    fn listen(&self, listener: TcpListener) {
        let mut server = JoinSet::new();
        server.spawn(serve(listener, self.shared.clone()));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }
}
