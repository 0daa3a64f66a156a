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

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (words, rest) = text.as_chunks::<8>();
    let (fours, last) = bytes.as_chunks_mut::<4>();
    for (four, word) in fours.iter_mut().zip(words) {
        *four = hex_word(*word)?;
    }
    // Flags and version have two digits.
    if let ([byte], [high, low]) = (last, rest) {
        let [_, _, _, two] = hex_word([b'0', b'0', b'0', b'0', b'0', b'0', *high, *low])?;
        *byte = two;
    }
    Some(bytes)
}

/// Eight digits at once: a byte of the word holds one each.
fn hex_word(digits: [u8; 8]) -> Option<[u8; 4]> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_be_bytes(digits);
    // `a` to `f` are 0x61 to 0x66, `0` to `9` are 0x30 to 0x39.
    let letters = (word >> 6) & ONES;
    let low = word & (ONES * 0x0f);
    let value = low + letters * 9;
    let wrong_high = (word & (ONES * 0xf0)) ^ (ONES * 0x30 + letters * 0x30);
    // A digit above 9, or a letter that is not 10 to 15, carries into or is missing the fifth bit.
    let digit_above = (low + ONES * 6) & !(letters * 0x10) & (ONES * 0x10);
    let letter_above = value & (letters * 0x10);
    let letter_below = !(low + ONES * 0x0f) & (letters * 0x10);
    if wrong_high | digit_above | letter_above | letter_below != 0 {
        return None;
    }
    let pairs = (value | value >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let [_, _, _, _, bytes @ ..] = (fours | fours >> 16).to_be_bytes();
    Some(bytes)
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
    fn each_byte_is_a_digit_or_none_as_it_stands() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
            for place in 0..8 {
                let mut digits = *b"19af0375";
                digits[place] = byte;
                let expected = expected.map(|_| {
                    let text = std::str::from_utf8(&digits).unwrap();
                    u32::from_str_radix(text, 16).unwrap().to_be_bytes()
                });
                assert_eq!(hex_word(digits), expected, "{byte:#x} at {place}");
            }
        }
        assert_eq!(hex::<1>(b"a7"), Some([0xa7]));
        assert_eq!(hex::<8>(b"0123456789abcdef"), Some([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]));
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
