//! Which traces are sampled, as `OTEL_TRACES_SAMPLER` says.

use halfbyte_core::config::Variables;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::Error;

/// Decides about a trace where it begins, and unless told otherwise follows whoever decided before.
///
/// The same traces are sampled as by other SDKs: a trace is one of them when the last 8 bytes of its id, as a fraction, are
/// less than the ratio, as Go, Python, C++ and Rust have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampler {
    root: Root,
    /// Whether the parent's decision is taken over.
    is_parent_based: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Always,
    Never,
    /// Trace ids whose last 63 bits but one are below.
    Below(u64),
}

impl Default for Sampler {
    fn default() -> Self {
        Self { root: Root::Always, is_parent_based: true }
    }
}

impl Sampler {
    /// What `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say; `parentbased_always_on` when they say nothing.
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let Some(name) = variables.get(NAME) else { return Ok(Self::default()) };
        let name = name.trim().to_ascii_lowercase();
        let (kind, is_parent_based) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name.as_str(), false),
        };
        let root = match kind {
            "always_on" => Root::Always,
            "always_off" => Root::Never,
            "traceidratio" => ratio(variables)?,
            _ => {
                return Err(Error::configuration(
                    NAME,
                    "must be always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
                     parentbased_traceidratio",
                ));
            }
        };
        Ok(Self { root, is_parent_based })
    }

    /// Whether a span is sampled; `parent` says whether its parent was.
    fn samples(self, parent: Option<bool>, trace: TraceId) -> bool {
        match (self.root, parent) {
            (_, Some(sampled)) if self.is_parent_based => sampled,
            (Root::Always, _) => true,
            (Root::Never, _) => false,
            (Root::Below(bound), _) => (u128::from_be_bytes(trace.to_bytes()) as u64) >> 1 < bound,
        }
    }
}

fn ratio(variables: &Variables) -> Result<Root, Error> {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let ratio = match variables.get(NAME) {
        None => 1.0,
        Some(value) => value
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or_else(|| Error::configuration(NAME, "must be a ratio from 0 to 1, such as 0.25"))?,
    };
    // 1 would not be representable as a bound.
    Ok(if ratio >= 1.0 { Root::Always } else { Root::Below((ratio * (1_u64 << 63) as f64) as u64) })
}

/// A sampler whose unsampled spans are recorded when `keeping`, so that they can be kept after all. What is told to others
/// stays "not sampled".
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    sampler: Sampler,
    keeping: bool,
}

impl Recording {
    pub(crate) fn new(sampler: Sampler, keeping: bool) -> Self {
        Self { sampler, keeping }
    }

    /// Whether a span is sampled, if it is recorded at all; `parent` says whether its parent was.
    #[inline]
    pub(crate) fn decide(&self, parent: Option<bool>, trace: TraceId) -> Option<bool> {
        let sampled = self.sampler.samples(parent, trace);
        (sampled || self.keeping).then_some(sampled)
    }
}

impl ShouldSample for Recording {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let span = parent.filter(|parent| parent.has_active_span()).map(|parent| parent.span());
        let parent = span.as_ref().map(|span| span.span_context()).filter(|parent| parent.is_valid());
        let decision = match self.decide(parent.map(|parent| parent.is_sampled()), trace) {
            Some(true) => SamplingDecision::RecordAndSample,
            Some(false) => SamplingDecision::RecordOnly,
            None => SamplingDecision::Drop,
        };
        let trace_state = parent.map(|parent| parent.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::Sampler as Peer;
    use proptest::prelude::*;

    use super::*;

    fn sampler(name: &str, arg: &str) -> Result<Sampler, Error> {
        let variables = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)];
        Sampler::read(&Config::parse(variables).unwrap().other)
    }

    fn peer(name: &str, ratio: f64) -> Peer {
        match name {
            "always_on" => Peer::AlwaysOn,
            "always_off" => Peer::AlwaysOff,
            "traceidratio" => Peer::TraceIdRatioBased(ratio),
            _ => Peer::ParentBased(Box::new(peer(&name["parentbased_".len()..], ratio))),
        }
    }

    fn parent(trace: TraceId, remote: bool, sampled: bool) -> Context {
        let flags = TraceFlags::default().with_sampled(sampled);
        let state = TraceState::from_key_value([("a", "b")]).unwrap();
        Context::new().with_remote_span_context(SpanContext::new(trace, SpanId::from(1), flags, remote, state))
    }

    fn ask(sampler: &dyn ShouldSample, parent: &Context, trace: TraceId) -> SamplingResult {
        sampler.should_sample(Some(parent), trace, "name", &SpanKind::Internal, &[], &[])
    }

    #[test]
    fn every_sampler_of_the_specification_has_its_name() {
        for (name, arg, root, is_parent_based) in [
            ("always_on", "", Root::Always, false),
            ("always_off", "", Root::Never, false),
            ("traceidratio", "", Root::Always, false),
            ("traceidratio", "1.0", Root::Always, false),
            ("traceidratio", "0.5", Root::Below(1 << 62), false),
            ("traceidratio", "0", Root::Below(0), false),
            ("parentbased_always_on", "nonsense that it does not read", Root::Always, true),
            ("parentbased_always_off", "", Root::Never, true),
            ("parentbased_traceidratio", " 2.5e-1 ", Root::Below(1 << 61), true),
            ("ParentBased_Always_Off", "", Root::Never, true),
            ("", "0.5", Root::Always, true),
        ] {
            assert_eq!(sampler(name, arg).unwrap(), Sampler { root, is_parent_based }, "{name} {arg}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_may_be() {
        for name in ["jaeger_remote", "parentbased_jaeger_remote", "xray", "parentbased_", "on", "parentbased"] {
            let error = sampler(name, "").unwrap_err();
            assert!(
                error.is_configuration() && error.to_string().starts_with("OTEL_TRACES_SAMPLER: must be"),
                "{name}"
            );
        }
        for arg in ["-0.1", "1.1", "NaN", "inf", "half", "50%"] {
            let error = sampler("traceidratio", arg).unwrap_err();
            assert_eq!(
                error.to_string(),
                "OTEL_TRACES_SAMPLER_ARG: must be a ratio from 0 to 1, such as 0.25",
                "{arg}"
            );
        }
    }

    #[test]
    fn a_ratio_samples_the_traces_that_other_sdks_sample() {
        // Thresholds as Go's `TraceIDRatioBased` has them: the last 8 bytes shifted by one, below ratio * 2^63.
        for (trace, ratio, sampled) in [
            ("00000000000000000000000000000001", "0.000001", true),
            ("ffffffffffffffff0000000000000000", "0.000001", true),
            ("00000000000000007fffffffffffffff", "0.5", true),
            ("00000000000000008000000000000000", "0.5", false),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "0.64", true),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "0.63", false),
            ("0000000000000000ffffffffffffffff", "0.999999", false),
            ("0000000000000000ffffffffffffffff", "1", true),
            ("00000000000000000000000000000001", "0", false),
        ] {
            let sampler = sampler("traceidratio", ratio).unwrap();
            assert_eq!(sampler.samples(None, TraceId::from_hex(trace).unwrap()), sampled, "{trace} {ratio}");
        }
    }

    #[test]
    fn an_unsampled_span_is_recorded_only_when_something_may_keep_it() {
        let off = sampler("always_off", "").unwrap();
        let trace = TraceId::from(7);
        for parent in [Context::new(), parent(trace, true, false), parent(trace, false, false)] {
            assert_eq!(ask(&Recording::new(off, true), &parent, trace).decision, SamplingDecision::RecordOnly);
            assert_eq!(ask(&Recording::new(off, false), &parent, trace).decision, SamplingDecision::Drop);
        }
    }

    #[test]
    fn a_parent_that_is_not_valid_is_none() {
        let invalid = Context::new().with_remote_span_context(SpanContext::NONE);
        let decision = ask(&Recording::new(Sampler::default(), false), &invalid, TraceId::from(7)).decision;
        assert_eq!(decision, SamplingDecision::RecordAndSample);
    }

    proptest! {
        #[test]
        fn it_decides_as_the_sdk_does(
            name in prop::sample::select(vec![
                "always_on", "always_off", "traceidratio",
                "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
            ]),
            ratio in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f64],
            trace in 1_u128..,
            of in prop::option::of((any::<bool>(), any::<bool>())),
        ) {
            let trace = TraceId::from(trace);
            let parent = of.map_or_else(Context::new, |(remote, sampled)| parent(trace, remote, sampled));
            let ours = Recording::new(sampler(name, &ratio.to_string()).unwrap(), false);
            prop_assert_eq!(ask(&ours, &parent, trace), ask(&peer(name, ratio), &parent, trace));
        }
    }
}
