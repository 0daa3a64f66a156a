use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::read::{self, Log, Span};

/// Receives OTLP over HTTP/protobuf as a collector does, and keeps all of it in memory.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use halfbyte_observe::testing::Receiver;
///
/// let receiver = Receiver::start().await?;
/// assert!(receiver.endpoint().starts_with("http://127.0.0.1:"));
/// assert!(receiver.spans().is_empty());
/// # Ok(()) }
/// ```
///
/// Dropping it closes its port.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<watch::Sender<Received>>,
    _server: JoinSet<()>,
}

/// What a [`Receiver`] has received so far, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Spans.
    pub spans: Vec<Span>,
    /// The names of metrics, each once.
    pub metric_names: Vec<String>,
    /// Log records.
    pub logs: Vec<Log>,
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
        let received = Arc::new(watch::Sender::new(Received::default()));
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .layer(DefaultBodyLimit::disable())
            .with_state(received.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            // Ends with the receiver only: axum waits and goes on when it cannot accept.
            let _never = axum::serve(listener, router).await;
        });
        Ok(Self { address, received, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` must be for telemetry to arrive here.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.borrow().spans.clone()
    }

    /// The names of the metrics so far, each once.
    pub fn metric_names(&self) -> Vec<String> {
        self.received.borrow().metric_names.clone()
    }

    /// The log records so far.
    pub fn logs(&self) -> Vec<Log> {
        self.received.borrow().logs.clone()
    }

    /// Waits until `enough` says so of what was received, up to `within`; answers whether it did. Cancel safe.
    #[must_use = "it may not have arrived"]
    pub async fn wait_for(&self, enough: impl FnMut(&Received) -> bool, within: Duration) -> bool {
        let mut received = self.received.subscribe();
        tokio::time::timeout(within, received.wait_for(enough)).await.is_ok()
    }
}

type Store = State<Arc<watch::Sender<Received>>>;

async fn traces(State(store): Store, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportTraceServiceRequest = decode(&headers, body)?;
    store.send_modify(|received| received.spans.extend(read::spans(request)));
    Ok(())
}

async fn metrics(State(store): Store, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportMetricsServiceRequest = decode(&headers, body)?;
    store.send_modify(|received| {
        for name in read::metric_names(request) {
            if !received.metric_names.contains(&name) {
                received.metric_names.push(name);
            }
        }
    });
    Ok(())
}

async fn logs(State(store): Store, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportLogsServiceRequest = decode(&headers, body)?;
    store.send_modify(|received| received.logs.extend(read::logs(request)));
    Ok(())
}

fn decode<M: Message + Default>(headers: &HeaderMap, body: Bytes) -> Result<M, StatusCode> {
    let protobuf = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/x-protobuf");
    if !protobuf {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let body = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => body,
        Some(b"gzip") => inflate(&body).ok_or(StatusCode::BAD_REQUEST)?,
        Some(_) => return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    };
    M::decode(body).map_err(|_| StatusCode::BAD_REQUEST)
}

/// Real collectors compress; what they send is small, and a bomb is not.
fn inflate(body: &[u8]) -> Option<Bytes> {
    const MOST: u64 = 64 << 20;
    let mut inflated = Vec::new();
    let read = GzDecoder::new(body).take(MOST).read_to_end(&mut inflated).ok()?;
    (read < usize::try_from(MOST).ok()?).then(|| inflated.into())
}
