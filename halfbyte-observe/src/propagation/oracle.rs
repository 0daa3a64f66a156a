//! Ours and the SDK's propagators on the same headers: where they must agree, and where the SDK is known to be wrong.

use http::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use proptest::prelude::*;

use super::carried::Carried;
use super::parent::{self, inject};

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    parent::extract(&Carried::by(headers))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn by(propagator: &impl TextMapPropagator, headers: &HeaderMap) -> SpanContext {
    let context = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
    context.span().span_context().clone()
}

fn by_sdk(headers: &HeaderMap) -> SpanContext {
    by(&TraceContextPropagator::new(), headers)
}

fn by_us(headers: &HeaderMap) -> SpanContext {
    extract(headers).unwrap_or(SpanContext::NONE)
}

#[test]
fn the_sdk_is_wrong_where_it_is_known_to_be() {
    // Should the SDK be mended, this goes red, and the line can go.
    for (what, list) in [
        ("two headers are taken for one", &[("traceparent", GOOD), ("traceparent", GOOD)][..]),
        ("the random flag is dropped", &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")]),
        ("version 0 may end in a dash", &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-")]),
        ("a version of one digit", &[("traceparent", "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
        ("a version in upper case", &[("traceparent", "AA-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
        ("a sign is a digit", &[("traceparent", "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
        ("a short trace id", &[("traceparent", "00-4bf92f35-00f067aa0ba902b7-01")]),
        ("a short span id", &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-2b7-01")]),
        ("flags of one digit", &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1")]),
        ("flags of three digits", &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-001")]),
        ("only the first tracestate is read", &[("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")]),
        ("a key twice", &[("traceparent", GOOD), ("tracestate", "a=1,a=2")]),
        ("an empty value", &[("traceparent", GOOD), ("tracestate", "a=")]),
        ("an empty key", &[("traceparent", GOOD), ("tracestate", "=1")]),
        ("two equals signs", &[("traceparent", GOOD), ("tracestate", "a==1")]),
        ("a tab in a value", &[("traceparent", GOOD), ("tracestate", "a=1\t2")]),
    ] {
        let headers = headers(list);
        assert_ne!(by_us(&headers), by_sdk(&headers), "{what}");
    }
    let list: Vec<_> = (0..33).map(|number| format!("k{number}=1")).collect();
    let too_many = headers(&[("traceparent", GOOD), ("tracestate", &list.join(","))]);
    assert_eq!(by_us(&too_many).trace_state(), &TraceState::NONE);
    assert!(by_sdk(&too_many).trace_state().get("k31").is_some(), "cut off after 32");
    let long = format!("a={},b={0},c={0}", "v".repeat(250));
    let long = headers(&[("traceparent", GOOD), ("tracestate", &long)]);
    assert!(by_us(&long).trace_state().header().len() <= 512 && by_sdk(&long).trace_state().header().len() > 512);
    let mut sent = HeaderMap::new();
    let context = Context::new().with_remote_span_context(by_us(&headers(&[("traceparent", GOOD)])));
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(&mut sent));
    assert_eq!(sent["tracestate"], "", "an empty one should not be sent");
}

proptest! {
    #[test]
    fn both_read_what_the_other_writes(
        trace in 1u128.., span in 1u64.., sampled: bool,
        members in prop::collection::btree_map("[a-z][a-z0-9_*/-]{0,9}", "[!-+.-<>-~]{1,9}", 0..9),
    ) {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let state = TraceState::from_key_value(members).expect("valid");
        let context = SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, true, state);
        let mut by_ours = HeaderMap::new();
        inject(&context, &mut by_ours);
        prop_assert_eq!(&by_sdk(&by_ours), &context);
        let mut by_sdks = HeaderMap::new();
        let carried = Context::new().with_remote_span_context(context.clone());
        TraceContextPropagator::new().inject_context(&carried, &mut HeaderInjector(&mut by_sdks));
        prop_assert_eq!(&by_us(&by_sdks), &context);
    }

    #[test]
    fn what_we_take_the_sdk_takes_too(parent in "(00|01|cc|ff|0g)-[0-9a-f]{31,33}-[0-9a-fA]{15,17}-0[0-9](-x)?") {
        let headers = headers(&[("traceparent", &parent)]);
        if let Some(ours) = extract(&headers) {
            let theirs = by_sdk(&headers);
            prop_assert_eq!((ours.trace_id(), ours.span_id()), (theirs.trace_id(), theirs.span_id()));
            prop_assert_eq!(ours.is_sampled(), theirs.is_sampled());
        }
    }
}
