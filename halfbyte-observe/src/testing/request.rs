//! What a request brings, over either protocol.

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, header};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::answer::Refusal;
use super::store::Items;
use super::{log, metric, span};
use crate::Signal;

/// Real collectors have a limit too; what telemetry sends is small, and a bomb is not.
pub(super) const MOST: usize = 64 << 20;

/// The signal of a path, and whether it is one of gRPC.
pub(super) fn route(path: &str) -> Option<(Signal, bool)> {
    Some(match path {
        "/v1/traces" => (Signal::Traces, false),
        "/v1/metrics" => (Signal::Metrics, false),
        "/v1/logs" => (Signal::Logs, false),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => (Signal::Traces, true),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => (Signal::Metrics, true),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => (Signal::Logs, true),
        _ => return None,
    })
}

/// The message, out of the frame of gRPC and of compression.
pub(super) fn unpack(headers: &HeaderMap, body: Bytes, is_grpc: bool) -> Result<Bytes, Refusal> {
    let (content_type, encoding) = match is_grpc {
        true => ("application/grpc", "grpc-encoding"),
        false => ("application/x-protobuf", header::CONTENT_ENCODING.as_str()),
    };
    let sent = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    if !(sent == content_type.as_bytes() || is_grpc && sent == b"application/grpc+proto") {
        return Err(Refusal::UNSUPPORTED);
    }
    let (body, compressed) = if is_grpc { unframe(body)? } else { (body, headers.contains_key(encoding)) };
    match headers.get(encoding).map(HeaderValue::as_bytes) {
        _ if !compressed => Ok(body),
        Some(b"gzip") => inflate(&body).ok_or(Refusal::INVALID),
        Some(b"identity") if !is_grpc => Ok(body),
        _ => Err(Refusal::UNSUPPORTED),
    }
}

/// A flag, the length in four bytes, and the only message of a unary call.
fn unframe(mut body: Bytes) -> Result<(Bytes, bool), Refusal> {
    let flag = body.try_get_u8().map_err(|_| Refusal::INVALID)?;
    let len = body.try_get_u32().map_err(|_| Refusal::INVALID)?;
    match flag {
        0 | 1 if usize::try_from(len).is_ok_and(|len| len == body.len()) => Ok((body, flag == 1)),
        _ => Err(Refusal::INVALID),
    }
}

fn inflate(body: &[u8]) -> Option<Bytes> {
    let mut inflated = Vec::new();
    let read = GzDecoder::new(body).take(MOST as u64).read_to_end(&mut inflated).ok()?;
    (read < MOST).then(|| inflated.into())
}

pub(super) fn decode(signal: Signal, message: Bytes) -> Result<Items, Refusal> {
    Ok(match signal {
        Signal::Traces => Items::Spans(span::read(of::<ExportTraceServiceRequest>(message)?)),
        Signal::Metrics => Items::Metrics(metric::read(of::<ExportMetricsServiceRequest>(message)?)),
        Signal::Logs => Items::Logs(log::read(of::<ExportLogsServiceRequest>(message)?)),
    })
}

fn of<M: Message + Default>(message: Bytes) -> Result<M, Refusal> {
    M::decode(message).map_err(|_| Refusal::INVALID)
}

pub(super) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        map.entry(name.as_str().to_owned())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    map
}
