//! What a [`Receiver`](super::Receiver) answers, over either protocol.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::Signal;

/// Why nothing of a request is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) http: StatusCode,
    pub(super) grpc: u16,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) const INVALID: Self = Self::new(StatusCode::BAD_REQUEST, 3);
    pub(super) const UNSUPPORTED: Self = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 12);
    pub(super) const UNKNOWN: Self = Self::new(StatusCode::NOT_FOUND, 12);
    pub(super) const TOO_LARGE: Self = Self::new(StatusCode::PAYLOAD_TOO_LARGE, 8);

    const fn new(http: StatusCode, grpc: u16) -> Self {
        Self { http, grpc, retry_after: None }
    }

    pub(super) fn answer(self, is_grpc: bool) -> Response<Answer> {
        let status = Status {
            code: self.grpc.into(),
            message: "this receiver was told to refuse, or cannot read it".to_owned(),
            details: self.retry_after.map(RetryInfo::within).into_iter().collect(),
        };
        let mut response = Response::new(Answer::default());
        if is_grpc {
            // A refusal has trailers alone, which then are the headers.
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, GRPC);
            headers.insert("grpc-status", self.grpc.into());
            let details = STANDARD_NO_PAD.encode(status.encode_to_vec());
            if let (Some(_), Ok(details)) = (self.retry_after, HeaderValue::try_from(details)) {
                headers.insert("grpc-status-details-bin", details);
            }
        } else {
            *response.status_mut() = self.http;
            response.headers_mut().insert(header::CONTENT_TYPE, PROTOBUF);
            if let Some(after) = self.retry_after {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response.body_mut().frames.push_back(Frame::data(status.encode_to_vec().into()));
        }
        response
    }
}

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// `rejected` items were not kept.
pub(super) fn taken(signal: Signal, is_grpc: bool, rejected: usize) -> Response<Answer> {
    let message = message(signal, rejected);
    let mut response = Response::new(Answer::default());
    if is_grpc {
        response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0_u16))]);
        response.body_mut().frames.extend([Frame::data(framed(&message)), Frame::trailers(trailers)]);
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, PROTOBUF);
        response.body_mut().frames.push_back(Frame::data(message));
    }
    response
}

/// An answer that announces more than comes before `connection` is closed.
pub(super) fn cut(is_grpc: bool, connection: CancellationToken) -> Response<Answer> {
    let mut response = Response::new(Answer::default());
    let announced = if is_grpc {
        response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
        framed(&[0; 64])
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, PROTOBUF);
        response.headers_mut().insert(header::CONTENT_LENGTH, 64.into());
        Bytes::from_static(&[0; 64])
    };
    let body = response.body_mut();
    body.frames.push_back(Frame::data(announced.slice(..8)));
    body.then_cut = Some(connection);
    response
}

fn message(signal: Signal, rejected: usize) -> Bytes {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    let error_message = "this receiver was told to reject them".to_owned();
    if rejected == 0 {
        // An answer without a partial success has no bytes.
        return Bytes::new();
    }
    let message = match signal {
        Signal::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial = ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message };
            ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Logs => {
            let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
    };
    message.into()
}

/// The frame of gRPC: not compressed, the length, the message.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The body of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    frames: VecDeque<Frame<Bytes>>,
    /// Does not end, but closes the connection.
    then_cut: Option<CancellationToken>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.frames.pop_front(), &self.then_cut) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, None) => Poll::Ready(None),
            (None, Some(connection)) => {
                connection.cancel();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.then_cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let data: Option<u64> = self.frames.iter().map(|frame| frame.data_ref().map(|data| data.len() as u64)).sum();
        match (data, &self.then_cut) {
            (Some(len), None) => SizeHint::with_exact(len),
            _ => SizeHint::default(),
        }
    }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RetryInfo {
    fn within(after: Duration) -> Any {
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let nanos = i32::try_from(after.subsec_nanos()).unwrap_or_default();
        let info = Self { retry_delay: Some(Delay { seconds, nanos }) };
        Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() }
    }
}
