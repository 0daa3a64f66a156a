//! What a collector's answer means, by the rules of the OTLP specification (1.x, "OTLP/HTTP Response" and
//! "OTLP/gRPC Response"). Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::Signal;

/// More of a response is not read.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// More of a collector's own words is not repeated.
const MOST_CHARS: usize = 256;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The collector took it, but for so many of its items; and what it says to that.
    Accepted { rejected: u64, message: Option<String> },
    /// It is to be sent again, not sooner than the collector says. Also when there was no answer.
    Later { after: Option<Duration>, why: String },
    /// It must not be sent again.
    Refused { why: String },
}

impl Answer {
    /// There was none: no connection, or no answer in time.
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self::Later { after: None, why: why.into() }
    }
}

/// The meaning of a response over HTTP. `body` is empty if it was too long.
pub(super) fn http(signal: Signal, status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Answer {
    let is = |media: &[u8]| headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(media));
    let body = if is(b"application/x-protobuf") { body } else { &[] };
    if status.is_success() && is(b"text/html") {
        // A page to sign in, or of a proxy whose server is away: nobody there has taken anything.
        return Answer::none(format!("what answered {status} with a page in HTML is no collector"));
    }
    if status.is_success() {
        return accepted(signal, body);
    }
    let said = RpcStatus::decode(body).map(|status| status.message).unwrap_or_default();
    let why = format!("the collector answered {status}{}", quoted(&said));
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Later { after: retry_after(headers, now), why },
        _ => Answer::Refused { why },
    }
}

/// The meaning of the body of a success.
pub(super) fn accepted(signal: Signal, body: &[u8]) -> Answer {
    // A response that cannot be read says nothing of a rejection.
    let partial = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_spans, partial.error_message)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
    };
    let (rejected, said) = partial.unwrap_or_default();
    let rejected = u64::try_from(rejected).unwrap_or_default();
    let message = (rejected > 0 || !said.is_empty()).then(|| match rejected {
        0 => format!("the collector warns{}", quoted(&said)),
        _ => format!("the collector rejected {rejected} {}{}", signal.items(), quoted(&said)),
    });
    Answer::Accepted { rejected, message }
}

/// The meaning of a response over gRPC with any other status.
#[cfg(any(feature = "grpc", test))]
pub(super) fn grpc(code: i32, message: &str, details: &[u8]) -> Answer {
    const CANCELLED: i32 = 1;
    const DEADLINE_EXCEEDED: i32 = 4;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const ABORTED: i32 = 10;
    const OUT_OF_RANGE: i32 = 11;
    const UNAVAILABLE: i32 = 14;
    const DATA_LOSS: i32 = 15;
    let why = format!("the collector answered gRPC status {code}{}", quoted(message));
    let after = retry_info(details);
    match code {
        CANCELLED | DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
            Answer::Later { after, why }
        }
        RESOURCE_EXHAUSTED if after.is_some() => Answer::Later { after, why },
        _ => Answer::Refused { why },
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    // A date that is over: at once.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// `google.rpc.Status`, which also is the body of a failure over HTTP.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[cfg(any(feature = "grpc", test))]
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[cfg(any(feature = "grpc", test))]
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The delay that `grpc-status-details-bin` asks for; none at all is no delay.
#[cfg(any(feature = "grpc", test))]
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or_default().min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

/// What a collector says, fit for one line of a log.
fn quoted(said: &str) -> String {
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST_CHARS)
        .collect::<String>()
        .trim()
        .to_owned();
    if said.is_empty() { String::new() } else { format!(": \"{said}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "1994-11-06T08:49:37Z";

    fn answered(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        http(Signal::Traces, StatusCode::from_u16(status).unwrap(), &headers, body, NOW.parse().unwrap())
    }

    fn after(answer: Answer) -> Option<Duration> {
        match answer {
            Answer::Later { after, .. } => after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_429_502_503_and_504_are_to_be_sent_again() {
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let later = matches!(answered(status, &[], b""), Answer::Later { after: None, .. });
            assert_eq!(later, [429, 502, 503, 504].contains(&status), "{status}");
        }
        for status in 200..300 {
            assert_eq!(answered(status, &[], b""), Answer::Accepted { rejected: 0, message: None }, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let answer = answered(429, &[("retry-after", value)], b"");
            assert_eq!(after(answer), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_partial_success_is_accepted_and_says_how_many_were_not_and_why() {
        // ExportTraceServiceResponse { partial_success: { rejected_spans: 3, error_message: "no" } }
        let body = [0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o'];
        let protobuf = ("content-type", "application/x-protobuf");
        let message = Some("the collector rejected 3 spans: \"no\"".to_owned());
        assert_eq!(answered(200, &[protobuf], &body), Answer::Accepted { rejected: 3, message: message.clone() });
        assert_eq!(
            accepted(Signal::Logs, &body[..]),
            Answer::Accepted { rejected: 3, message: Some("the collector rejected 3 log records: \"no\"".to_owned()) }
        );
        // Of another type, or not to be read: nothing is known to be rejected.
        let json = ("content-type", "application/json");
        for (headers, body) in [(&[json][..], &body[..]), (&[protobuf][..], &body[..3])] {
            assert_eq!(answered(200, headers, body), Answer::Accepted { rejected: 0, message: None });
        }
        // A warning only.
        let warning = [0x0a, 4, 0x12, 2, b'n', b'o'];
        let message = Some("the collector warns: \"no\"".to_owned());
        assert_eq!(answered(200, &[protobuf], &warning), Answer::Accepted { rejected: 0, message });
        // A negative count is nonsense.
        let negative = [0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(matches!(answered(200, &[protobuf], &negative), Answer::Accepted { rejected: 0, .. }));
    }

    #[test]
    fn a_page_is_of_somebody_who_took_nothing() {
        for media in ["text/html", "text/html; charset=utf-8"] {
            let answer = answered(200, &[("content-type", media)], b"<!doctype html><title>Sign in</title>");
            let why = "what answered 200 OK with a page in HTML is no collector".to_owned();
            assert_eq!(answer, Answer::Later { after: None, why });
        }
    }

    #[test]
    fn what_a_collector_says_is_one_short_line() {
        let said = format!("a\nb\u{1b}[31m{}", "x".repeat(1000));
        let body = RpcStatus { message: said, details: vec![] }.encode_to_vec();
        let Answer::Refused { why } = answered(400, &[("content-type", "application/x-protobuf")], &body) else {
            panic!("400 is for good")
        };
        assert!(why.starts_with("the collector answered 400 Bad Request: \"a b [31mxxx"), "{why}");
        assert!(why.len() < 320 && !why.contains(char::is_control), "{why}");
    }

    fn details(type_url: &str, delay: Option<(i64, i32)>) -> Vec<u8> {
        let retry_delay = delay.map(|(seconds, nanos)| Delay { seconds, nanos });
        let value = RetryInfo { retry_delay }.encode_to_vec();
        let other = Detail { type_url: "type.googleapis.com/google.rpc.DebugInfo".into(), value: vec![1] };
        let details = vec![other, Detail { type_url: type_url.into(), value }];
        RpcStatus { message: String::new(), details }.encode_to_vec()
    }

    #[test]
    fn the_statuses_of_grpc_that_are_to_be_sent_again_are_those_of_the_specification() {
        for code in 1..=16 {
            let later = matches!(grpc(code, "", b""), Answer::Later { after: None, .. });
            assert_eq!(later, [1, 4, 10, 11, 14, 15].contains(&code), "{code}");
        }
    }

    #[test]
    fn an_exhausted_resource_is_tried_again_only_if_the_collector_says_when() {
        const TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";
        assert!(matches!(grpc(8, "", b""), Answer::Refused { .. }));
        assert!(matches!(grpc(8, "", &details("x/google.rpc.Other", Some((1, 0)))), Answer::Refused { .. }));
        assert!(matches!(grpc(8, "", b"\xff"), Answer::Refused { .. }));
        for (delay, expected) in [
            (Some((2, 500_000_000)), Duration::from_millis(2500)),
            (Some((-2, 0)), Duration::ZERO),
            (None, Duration::ZERO),
        ] {
            assert_eq!(after(grpc(8, "", &details(TYPE, delay))), Some(expected));
            assert_eq!(after(grpc(14, "", &details(TYPE, delay))), Some(expected));
        }
    }
}
