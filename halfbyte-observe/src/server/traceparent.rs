//! The inbound W3C trace context, read strictly: what is malformed is ignored, and a new trace starts.

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

pub(super) fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let value = values.next()?.as_bytes();
    // Two of them are malformed: there is no telling which one is meant.
    if values.next().is_some() {
        return None;
    }
    let (trace_id, span_id, flags) = parse(value)?;
    Some(SpanContext::new(trace_id, span_id, flags, true, state(headers)))
}

fn parse(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let [version] = hex(&known[..2])?;
    // Later versions may add fields behind a dash; 255 is forbidden.
    let well_ended = match version {
        0 => rest.is_empty(),
        255 => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    if !well_ended || !dashes {
        return None;
    }
    let trace_id = TraceId::from_bytes(hex(&known[3..35])?);
    let span_id = SpanId::from_bytes(hex(&known[36..52])?);
    let [flags] = hex(&known[53..])?;
    let valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
    valid.then_some((trace_id, span_id, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

/// Of each byte the digit that it is, or what no digit is.
static DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, _) = text.as_chunks::<2>();
    let (mut bytes, mut wrong) = ([0; N], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        wrong |= (high | low) & 0xf0;
        *byte = high << 4 | low;
    }
    (wrong == 0).then_some(bytes)
}

/// A `tracestate` that cannot be read is left out; the trace goes on without it.
fn state(headers: &HeaderMap) -> TraceState {
    let mut values = headers.get_all(&TRACESTATE).iter().map(|value| value.to_str().ok());
    let parsed = match (values.next(), values.next()) {
        (None, _) => return TraceState::NONE,
        (Some(only), None) => only.and_then(|only| only.parse().ok()),
        // Split over several headers, it is one list.
        (Some(first), Some(second)) => [first, second]
            .into_iter()
            .chain(values)
            .collect::<Option<Vec<_>>>()
            .and_then(|parts| parts.join(",").parse().ok()),
    };
    parsed.unwrap_or(TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_well_formed_traceparent_is_taken() {
        let (trace_id, span_id, flags) = parse(GOOD.as_bytes()).expect("well formed");
        assert_eq!(trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span_id.to_string(), "00f067aa0ba902b7");
        assert!(flags.is_sampled());
        assert!(!parse(GOOD.replace("-01", "-02").as_bytes()).expect("well formed").2.is_sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [GOOD.replacen("00", "01", 1), GOOD.replacen("00", "cc", 1) + "-what-comes"] {
            assert!(parse(later.as_bytes()).is_some(), "{later}");
        }
    }

    #[test]
    fn every_malformed_traceparent_is_ignored() {
        let cases = [
            ("empty", String::new()),
            ("too short", GOOD[..54].into()),
            ("version 0 with more", format!("{GOOD}-00")),
            ("version 0 with a dash behind", format!("{GOOD}-")),
            ("later version with more and no dash", GOOD.replacen("00", "01", 1) + "x"),
            ("version 255", GOOD.replacen("00", "ff", 1)),
            ("version no hex", GOOD.replacen("00", "0g", 1)),
            ("version of one digit", GOOD[1..].into()),
            ("upper case", GOOD.to_uppercase()),
            ("trace of zeros", "00-00000000000000000000000000000000-00f067aa0ba902b7-01".into()),
            ("span of zeros", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".into()),
            ("trace no hex", GOOD.replace("4bf", "4bz")),
            ("span no hex", GOOD.replace("b7-", "b.-")),
            ("flags no hex", GOOD.replace("-01", "-0x")),
            ("other separators", GOOD.replace('-', "_")),
            ("a space in front", format!(" {GOOD}")),
            ("shifted by one", "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01".into()),
        ];
        for (what, value) in cases {
            assert!(parse(value.as_bytes()).is_none(), "{what}: {value}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(&TRACEPARENT, GOOD.parse().unwrap());
        assert!(extract(&headers).is_some());
        headers.append(&TRACEPARENT, GOOD.parse().unwrap());
        assert!(extract(&headers).is_none());
    }

    #[test]
    fn a_split_tracestate_is_joined_and_a_malformed_one_is_left_out() {
        let mut headers = HeaderMap::new();
        headers.append(&TRACEPARENT, GOOD.parse().unwrap());
        headers.append(&TRACESTATE, "a=1".parse().unwrap());
        headers.append(&TRACESTATE, "b=2".parse().unwrap());
        assert_eq!(extract(&headers).expect("valid").trace_state().header(), "a=1,b=2");
        headers.append(&TRACESTATE, "no pair".parse().unwrap());
        assert_eq!(extract(&headers).expect("valid").trace_state().header(), "");
    }
}
