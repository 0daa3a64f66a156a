//! `traceparent` and `tracestate` in headers: [W3C Trace Context level 2](https://www.w3.org/TR/trace-context-2/), read
//! strictly. What is malformed is ignored, and a new trace starts.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::carried::Carried;
use super::state;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The right-most seven bytes of the trace id are random, so that a sampler may decide by them.
pub(crate) const RANDOM: TraceFlags = TraceFlags::new(0b10);

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex.
pub(super) const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The context that came with a request, if there is one and it can be read. Without `tracestate` nothing is allocated.
pub(crate) fn extract(carried: &Carried<'_>) -> Option<SpanContext> {
    // Two of them are malformed: there is no telling which one is meant.
    let value = carried.parent.filter(|_| !carried.has_another_parent)?.as_bytes();
    let states = || carried.headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes);
    read(value, || if carried.has_state { state::parse(states()) } else { TraceState::NONE })
}

/// Makes `context` the one that goes out, in place of any that is there. One that is not valid changes nothing.
pub(crate) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    if !context.is_valid() {
        return;
    }
    if let Ok(value) = HeaderValue::from_bytes(&render(context)) {
        headers.insert(TRACEPARENT, value);
    }
    match state::render(context.trace_state()).map(HeaderValue::try_from) {
        Some(Ok(value)) => drop(headers.insert(TRACESTATE, value)),
        // That of another trace, of a request that is sent on.
        _ => drop(headers.remove(TRACESTATE)),
    }
}

/// Only behind a good `traceparent` is the state read at all.
pub(super) fn read(value: &[u8], state: impl FnOnce() -> TraceState) -> Option<SpanContext> {
    let (trace_id, span_id, flags) = parse(value)?;
    Some(SpanContext::new(trace_id, span_id, flags, true, state()))
}

/// Always version 0, the highest that is known here, and no flag that it does not define.
pub(super) fn render(context: &SpanContext) -> [u8; LENGTH] {
    let mut text = [b'-'; LENGTH];
    text[..2].copy_from_slice(b"00");
    write_hex(&mut text[3..35], &context.trace_id().to_bytes());
    write_hex(&mut text[36..52], &context.span_id().to_bytes());
    write_hex(&mut text[53..], &[known(context.trace_flags()).to_u8()]);
    text
}

fn parse(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    // White space around is no part of a header's value (RFC 9110, 5.5), though HTTP/2 hands it on.
    let (text, rest) = value.trim_ascii().split_first_chunk::<LENGTH>()?;
    let trace_high = sixteen(text[3..].first_chunk()?);
    let trace_low = sixteen(text[19..].first_chunk()?);
    let span = sixteen(text[36..].first_chunk()?);
    let edges = eight([text[0], text[1], text[53], text[54], b'0', b'0', b'0', b'0']);
    // Looked at once, behind all of them: a branch for each digit takes longer.
    let wrong = trace_high.wrong | trace_low.wrong | span.wrong | edges.wrong;
    let [.., version, flags, _, _] = edges.value.to_be_bytes();
    // Later versions may add fields behind a dash; 255 is forbidden.
    let well_ended = match version {
        0 => rest.is_empty(),
        255 => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|at| text[*at] == b'-');
    if wrong != 0 || !well_ended || !dashes {
        return None;
    }
    let trace_id = TraceId::from((u128::from(trace_high.value) << u64::BITS) | u128::from(trace_low.value));
    let span_id = SpanId::from(span.value);
    let valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
    valid.then_some((trace_id, span_id, known(TraceFlags::new(flags))))
}

/// The other bits are reserved, and must be zero in what is sent.
fn known(flags: TraceFlags) -> TraceFlags {
    flags & (TraceFlags::SAMPLED | RANDOM)
}

/// Up to sixteen digits as a number.
struct Digits {
    value: u64,
    /// Not 0 if one of them is none.
    wrong: u64,
}

#[inline(always)]
fn sixteen(text: &[u8; 16]) -> Digits {
    let (halves, _) = text.as_chunks::<8>();
    let (high, low) = (eight(halves[0]), eight(halves[1]));
    Digits { value: (high.value << u32::BITS) | low.value, wrong: high.wrong | low.wrong }
}

/// Reads all eight bytes of a word at a time.
#[inline(always)]
fn eight(text: [u8; 8]) -> Digits {
    const EACH: u64 = u64::from_be_bytes([1; 8]);
    let text = u64::from_be_bytes(text);
    let letters = (text >> 6) & EACH;
    let low = text & (0x0f * EACH);
    // 0x30 to 0x39, and 0x61 to 0x66: the upper half is the one or the other, a letter is no more than 6 and not 0, and
    // what is none is no more than 9.
    let upper = (text ^ (0x30 * EACH + 0x30 * letters)) & (0xf0 * EACH);
    let too_large = (low + 6 * EACH + 3 * letters) & (0x10 * EACH);
    let letter_zero = ((low + 15 * letters) ^ (letters << 4)) & (0x10 * EACH);
    let nibbles = low + 9 * letters;
    let bytes = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    Digits { value: (pairs | (pairs >> 16)) & 0xffff_ffff, wrong: upper | too_large | letter_zero }
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn extract(headers: &HeaderMap) -> Option<SpanContext> {
        super::extract(&Carried::by(headers))
    }

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_well_formed_traceparent_is_taken() {
        let context = extract(&headers(&[(&TRACEPARENT, GOOD)])).expect("well formed");
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state(), &TraceState::NONE);
    }

    #[test]
    fn sampled_and_random_are_kept_and_every_other_flag_is_dropped() {
        for (sent, kept) in
            [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("04", 0), ("09", 1), ("0a", 2), ("fc", 0), ("ff", 3)]
        {
            let (.., flags) = parse(GOOD.replace("-01", &format!("-{sent}")).as_bytes()).expect(sent);
            assert_eq!(flags.to_u8(), kept, "{sent}");
        }
        let reserved =
            SpanContext::new(TraceId::from(1), SpanId::from(2), TraceFlags::new(0xff), false, TraceState::NONE);
        assert_eq!(&render(&reserved)[53..], b"03");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_sent_as_version_0() {
        for later in [
            GOOD.replacen("00", "01", 1),
            GOOD.replacen("00", "cc", 1) + "-what-comes",
            GOOD.replacen("00", "fe", 1) + "-",
        ] {
            let context = extract(&headers(&[(&TRACEPARENT, &later)])).expect(&later);
            assert_eq!(render(&context), GOOD.as_bytes(), "{later}");
        }
    }

    #[test]
    fn white_space_around_is_no_part_of_the_value() {
        for around in [format!(" {GOOD}"), format!("\t{GOOD}"), format!("{GOOD} "), format!("\t {GOOD} \t")] {
            assert!(parse(around.as_bytes()).is_some(), "{around:?}");
        }
    }

    #[test]
    fn every_malformed_traceparent_is_ignored() {
        let cases = [
            ("empty", String::new()),
            ("white space", "  ".into()),
            ("too short", GOOD[..54].into()),
            ("version 0 with more", format!("{GOOD}-00")),
            ("version 0 with a dash behind", format!("{GOOD}-")),
            ("version 0 with a dot behind", format!("{GOOD}.")),
            ("later version with more and no dash", GOOD.replacen("00", "01", 1) + "x"),
            ("later version, dot", GOOD.replacen("00", "cc", 1) + ".what-comes"),
            ("later version, short", GOOD.replacen("00", "cc", 1)[..54].into()),
            ("version 255", GOOD.replacen("00", "ff", 1)),
            ("version 255 with more", GOOD.replacen("00", "ff", 1) + "-x"),
            ("version no hex", GOOD.replacen("00", "0g", 1)),
            ("version with a dot", GOOD.replacen("00", ".0", 1)),
            ("version of one digit", GOOD[1..].into()),
            ("version of three digits", format!("0{GOOD}")),
            ("version of four digits", format!("00{GOOD}")),
            ("version in upper case", GOOD.replacen("00", "AA", 1)),
            ("upper case", GOOD.to_uppercase()),
            ("one digit of the trace in upper case", GOOD.replace("4bf", "4Bf")),
            ("one digit of the span in upper case", GOOD.replace("00f", "00F")),
            ("flags in upper case", GOOD.replace("-01", "-0A")),
            ("trace of zeros", "00-00000000000000000000000000000000-00f067aa0ba902b7-01".into()),
            ("span of zeros", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".into()),
            ("trace too long", GOOD.replace("736-", "7361-")),
            ("trace too short", GOOD.replace("736-", "73-")),
            ("span too long", GOOD.replace("2b7-", "2b71-")),
            ("span too short", GOOD.replace("2b7-", "2b-")),
            ("trace no hex", GOOD.replace("4bf", "4bz")),
            ("span no hex", GOOD.replace("b7-", "b.-")),
            ("flags no hex", GOOD.replace("-01", "-0x")),
            ("flags with a dot", GOOD.replace("-01", "-.0")),
            ("flags of one digit", GOOD.replace("-01", "-1")),
            ("flags of three digits", GOOD.replace("-01", "-001")),
            ("other separators", GOOD.replace('-', "_")),
            ("another first separator", GOOD.replace("00-4", "00_4")),
            ("another second separator", GOOD.replace("736-", "736_")),
            ("another third separator", GOOD.replace("2b7-", "2b7_")),
            ("a space within", GOOD.replacen('-', " ", 1)),
            ("a sign as a digit", GOOD.replacen("00", "+0", 1)),
            ("shifted by one", "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01".into()),
        ];
        for (what, value) in cases {
            assert!(parse(value.as_bytes()).is_none(), "{what}: {value}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        assert!(extract(&headers(&[(&TRACEPARENT, GOOD), (&TRACEPARENT, GOOD)])).is_none());
    }

    #[test]
    fn without_a_traceparent_the_state_is_nobodys() {
        assert!(extract(&headers(&[(&TRACESTATE, "a=1")])).is_none());
        assert!(extract(&headers(&[(&TRACEPARENT, "nonsense"), (&TRACESTATE, "a=1")])).is_none());
    }

    #[test]
    fn a_state_that_cannot_be_read_does_not_hurt_the_traceparent() {
        let context = extract(&headers(&[(&TRACEPARENT, GOOD), (&TRACESTATE, "no pair")])).expect("well formed");
        assert_eq!(context.trace_state(), &TraceState::NONE);
    }

    #[test]
    fn what_goes_out_replaces_what_was_there() {
        let mut out = headers(&[
            (&TRACEPARENT, "old"),
            (&TRACEPARENT, "older"),
            (&TRACESTATE, "old=1"),
            (&TRACESTATE, "older=1"),
        ]);
        let context = extract(&headers(&[(&TRACEPARENT, GOOD), (&TRACESTATE, "a=1"), (&TRACESTATE, "b=2")]));
        inject(&context.expect("well formed"), &mut out);
        assert_eq!(out, headers(&[(&TRACEPARENT, GOOD), (&TRACESTATE, "a=1,b=2")]));
        inject(&extract(&headers(&[(&TRACEPARENT, GOOD)])).expect("well formed"), &mut out);
        assert_eq!(out, headers(&[(&TRACEPARENT, GOOD)]), "no state is not an empty one, and not the old one");
        inject(&SpanContext::NONE, &mut out);
        assert_eq!(out, headers(&[(&TRACEPARENT, GOOD)]), "there is nothing to say");
    }

    #[test]
    fn a_traceparent_alone_is_read_without_allocating() {
        let headers = headers(&[(&TRACEPARENT, GOOD)]);
        let counted = allocation_counter::measure(|| drop(extract(&headers)));
        assert_eq!(counted.count_total, 0);
    }

    proptest! {
        #[test]
        fn digits_are_what_the_standard_library_reads(text in "[0-9a-f]{8}", at in 0_usize..8, byte in any::<u8>()) {
            let mut bytes: [u8; 8] = text.as_bytes().try_into().unwrap();
            let read = eight(bytes);
            prop_assert_eq!((read.value, read.wrong), (u64::from_str_radix(&text, 16).unwrap(), 0));
            bytes[at] = byte;
            prop_assert_eq!(eight(bytes).wrong == 0, matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        }

        #[test]
        fn anything_is_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&value);
        }

        #[test]
        fn what_is_almost_good_is_read_without_a_panic(at in 0..LENGTH, byte in any::<u8>(), cut in 0..=LENGTH) {
            let mut value = GOOD.as_bytes().to_vec();
            value[at] = byte;
            let _ = parse(&value[..cut]);
        }

        #[test]
        fn what_is_written_is_read_as_it_was(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context =
                SpanContext::new(trace.into(), span.into(), TraceFlags::new(flags), true, TraceState::NONE);
            let mut headers = HeaderMap::new();
            inject(&context, &mut headers);
            prop_assert_eq!(extract(&headers), Some(context));
        }
    }
}
