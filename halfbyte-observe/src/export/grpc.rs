//! OTLP over gRPC.

use std::error::Error as _;
use std::future::Future;

use bytes::{Buf as _, BufMut as _, Bytes};
use halfbyte_core::error_chain;
use http::uri::PathAndQuery;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::answer::{self, Answer, MOST_BYTES};
use super::destination::Destination;
use super::transport::{KEEP_ALIVE, Pem, USER_AGENT, unusable};
use crate::{Error, Signal};

const NO_ROOTS: &str = "the gRPC client that sends telemetry cannot be made: this machine trusts no authority; install its \
                        certificates, or set OTEL_EXPORTER_OTLP_CERTIFICATE";

#[derive(Debug)]
pub(super) struct Grpc {
    signal: Signal,
    endpoint: Endpoint,
    // Made with the first request, since it needs a runtime.
    channel: Option<Channel>,
    metadata: MetadataMap,
    gzip: bool,
}

impl Grpc {
    pub(super) fn new(signal: Signal, to: &Destination, pem: Pem) -> Result<Self, Error> {
        let unusable_client = |error| Error::setup("the gRPC client that sends telemetry cannot be made", error);
        let mut endpoint = Endpoint::from_shared(to.shown())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(unusable_client)?
            .connect_timeout(to.timeout)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(to.timeout);
        if to.url.scheme() == "https" {
            let mut tls = match pem.authorities {
                Some(authorities) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some((key, certificate)) = pem.client {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            let named = to.tls.certificate.is_some() || to.tls.client.is_some();
            endpoint = endpoint.tls_config(tls).map_err(|error| match named {
                true => unusable(&to.tls),
                false => Error::setup(NO_ROOTS, error),
            })?;
        }
        let metadata = MetadataMap::from_headers(to.headers.clone());
        Ok(Self { signal, endpoint, channel: None, metadata, gzip: to.gzip })
    }

    pub(super) fn send(&mut self, payload: Bytes) -> impl Future<Output = Answer> + Send + 'static {
        let channel = self.channel.get_or_insert_with(|| self.endpoint.connect_lazy()).clone();
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MOST_BYTES);
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        let mut request = Request::new(payload);
        *request.metadata_mut() = self.metadata.clone();
        let signal = self.signal;
        async move {
            if let Err(error) = client.ready().await {
                return Answer::none(error_chain(error.source().unwrap_or(&error)));
            }
            match client.unary(request, path(signal), AsItIs).await {
                Ok(response) => answer::accepted(signal, response.get_ref()),
                Err(status) => meaning(&status),
            }
        }
    }

    /// Connects anew with the next request: what had no answer in time may be a connection that nobody is on.
    pub(super) fn reset(&mut self) {
        self.channel = None;
    }
}

fn path(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    })
}

/// A status with a cause is of this end, and says that there was no answer; any other one is the collector's.
fn meaning(status: &Status) -> Answer {
    match status.source() {
        Some(cause) => Answer::none(error_chain(cause)),
        None => answer::grpc(i32::from(status.code()), status.message(), status.details()),
    }
}

/// Messages are encoded before, and the response is looked at afterwards.
#[derive(Clone, Copy, Debug)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
