use halfbyte_core::config::Variables;
use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt as _};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};

use super::baggage::BAGGAGE;
use super::carried::Carried;
use super::parent::{TRACEPARENT, TRACESTATE};
use super::{baggage, parent, state};
use crate::Error;

const VARIABLE: &str = "OTEL_PROPAGATORS";

/// What is read from the headers of requests and written into those of calls: W3C Trace Context (level 2) and W3C
/// Baggage, or one of them, or none.
///
/// Baggage goes in plain text to whomever is called, and comes from whoever calls. So none of it crosses the border of
/// this process unless its key is allowed: [`take_baggage`](Self::take_baggage) on the way in,
/// [`send_baggage`](Self::send_baggage) on the way out. A `baggage` header that is in a call's headers otherwise, such as
/// one that was copied from a request, is taken out of them.
///
/// ```
/// use halfbyte_observe::{BaggageKeys, Propagators};
///
/// let keys = BaggageKeys::only(["experiment"]);
/// let propagators = Propagators::default().take_baggage(keys.clone()).send_baggage(keys);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagators {
    trace_context: bool,
    baggage: bool,
    taken: BaggageKeys,
    sent: BaggageKeys,
    /// The headers, as OpenTelemetry asks for them.
    fields: Vec<String>,
}

impl Default for Propagators {
    /// Trace context and baggage, though no key of it is allowed.
    fn default() -> Self {
        Self::new(true, true)
    }
}

impl Propagators {
    /// Neither reads nor writes anything.
    pub fn none() -> Self {
        Self::new(false, false)
    }

    /// Takes over inbound baggage of these keys.
    pub fn take_baggage(mut self, keys: BaggageKeys) -> Self {
        self.taken = keys;
        self
    }

    /// Sends baggage of these keys along with calls.
    pub fn send_baggage(mut self, keys: BaggageKeys) -> Self {
        self.sent = keys;
        self
    }

    fn new(trace_context: bool, baggage: bool) -> Self {
        let of = |uses: bool, headers: &[http::HeaderName]| -> Vec<String> {
            headers.iter().filter(|_| uses).map(ToString::to_string).collect()
        };
        let fields = [of(trace_context, &[TRACEPARENT, TRACESTATE]), of(baggage, &[BAGGAGE])].concat();
        Self { trace_context, baggage, taken: BaggageKeys::none(), sent: BaggageKeys::none(), fields }
    }

    /// Those that `OTEL_PROPAGATORS` names; both unless it is set.
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        let listed = variables.get(VARIABLE).unwrap_or_default();
        let (mut named, mut trace_context, mut baggage, mut none) = (false, false, false, false);
        for name in listed.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            named = true;
            match () {
                () if name.eq_ignore_ascii_case("tracecontext") => trace_context = true,
                () if name.eq_ignore_ascii_case("baggage") => baggage = true,
                () if name.eq_ignore_ascii_case("none") => none = true,
                () => {
                    let message = format!("\"{name}\" is not a propagator here; use tracecontext, baggage or none");
                    return Err(Error::configuration(VARIABLE, message));
                }
            }
        }
        match (named, none, trace_context || baggage) {
            (false, ..) => Ok(Self::default()),
            (true, true, true) => Err(Error::configuration(VARIABLE, "none stands alone; leave it out or the others")),
            (true, ..) => Ok(Self::new(trace_context, baggage)),
        }
    }

    /// The trace that a request says it belongs to. Whether that is believed is for [`TraceTrust`](super::TraceTrust).
    pub(crate) fn extract(&self, carried: &Carried<'_>) -> Option<SpanContext> {
        if self.trace_context { parent::extract(carried) } else { None }
    }

    /// The baggage that may be taken from a request; allocates nothing where there is none.
    pub(crate) fn extract_baggage(&self, carried: &Carried<'_>) -> Baggage {
        if !self.baggage || !carried.has_baggage {
            return Baggage::new();
        }
        // Of a line that is no text, the members that are stay.
        let lines: Vec<_> =
            carried.headers.get_all(BAGGAGE).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        baggage::parse(lines.iter().map(AsRef::as_ref), &self.taken)
    }

    /// Makes the span and the baggage of `context` those that a call goes out with.
    pub(crate) fn inject(&self, context: &Context, headers: &mut HeaderMap) {
        if self.trace_context {
            parent::inject(context.span().span_context(), headers);
        }
        if self.baggage {
            match baggage::render(context.baggage(), &self.sent).map(HeaderValue::try_from) {
                Some(Ok(value)) => drop(headers.insert(BAGGAGE, value)),
                _ => drop(headers.remove(BAGGAGE)),
            }
        }
    }
}

impl TextMapPropagator for Propagators {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span();
        let span_context = span.span_context();
        if self.trace_context && span_context.is_valid() {
            let parent = parent::render(span_context).into_iter().map(char::from).collect();
            injector.set(TRACEPARENT.as_str(), parent);
            if let Some(state) = state::render(span_context.trace_state()) {
                injector.set(TRACESTATE.as_str(), state);
            }
        }
        if self.baggage
            && let Some(list) = baggage::render(context.baggage(), &self.sent)
        {
            injector.set(BAGGAGE.as_str(), list);
        }
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let mut context = context.clone();
        let all = |name: &str| extractor.get_all(name).unwrap_or_default();
        if self.trace_context
            && let [parent] = all(TRACEPARENT.as_str())[..]
        {
            let state = || state::parse(all(TRACESTATE.as_str()).into_iter().map(str::as_bytes));
            if let Some(remote) = parent::read(parent.as_bytes(), state) {
                context = context.with_remote_span_context(remote);
            }
        }
        if self.baggage {
            let baggage = baggage::parse(all(BAGGAGE.as_str()).into_iter(), &self.taken);
            if !baggage.is_empty() {
                context = context.with_baggage(baggage);
            }
        }
        context
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// The keys of baggage that are allowed to cross a border; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaggageKeys(Allowed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    All,
    Only(Box<[Box<str>]>),
}

impl Default for Allowed {
    fn default() -> Self {
        Self::Only(Box::default())
    }
}

impl BaggageKeys {
    /// No key, which is the default.
    pub fn none() -> Self {
        Self::default()
    }

    /// These keys, whose case matters.
    pub fn only<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(Allowed::Only(keys.into_iter().map(|key| key.into().into_boxed_str()).collect()))
    }

    /// Whatever key there is: for a process that neither hears from nor speaks to anyone outside.
    pub fn danger_all() -> Self {
        Self(Allowed::All)
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.0, Allowed::Only(keys) if keys.is_empty())
    }

    pub(super) fn allow(&self, key: &str) -> bool {
        match &self.0 {
            Allowed::All => true,
            Allowed::Only(keys) => keys.iter().any(|allowed| **allowed == *key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use halfbyte_core::config::Config;
    use http::HeaderName;
    use opentelemetry_http::{HeaderExtractor, HeaderInjector};

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn of(headers: &HeaderMap) -> SpanContext {
        parent::extract(&Carried::by(headers)).unwrap_or(SpanContext::NONE)
    }

    #[test]
    fn all_that_global_propagation_asks_for_is_as_the_functions_have_it() {
        let ours =
            Propagators::default().take_baggage(BaggageKeys::danger_all()).send_baggage(BaggageKeys::danger_all());
        for list in [
            &[
                ("traceparent", GOOD),
                ("tracestate", "a=1"),
                ("tracestate", "b=2"),
                ("baggage", "k=v;p"),
                ("baggage", "l=w"),
            ][..],
            &[("traceparent", GOOD)],
            &[("traceparent", GOOD), ("traceparent", GOOD), ("tracestate", "a=1")],
            &[("baggage", "k=v%20w")],
            &[],
        ] {
            let received = headers(list);
            let context = ours.extract_with_context(&Context::new(), &HeaderExtractor(&received));
            assert_eq!(context.span().span_context(), &of(&received), "{list:?}");
            assert_eq!(
                context.baggage().to_string().len(),
                ours.extract_baggage(&Carried::by(&received)).to_string().len(),
                "{list:?}"
            );
            let (mut by_injector, mut by_function) = (HeaderMap::new(), HeaderMap::new());
            ours.inject_context(&context, &mut HeaderInjector(&mut by_injector));
            ours.inject(&context, &mut by_function);
            assert_eq!(by_injector, by_function, "{list:?}");
        }
        assert_eq!(ours.fields().collect::<Vec<_>>(), ["traceparent", "tracestate", "baggage"]);
    }

    #[test]
    fn a_context_that_is_there_stays_where_the_headers_say_nothing() {
        let remote = of(&headers(&[("traceparent", GOOD)]));
        let before = Context::new().with_remote_span_context(remote.clone());
        let after = Propagators::default().extract_with_context(&before, &HashMap::<String, String>::new());
        assert_eq!(after.span().span_context(), &remote);
    }

    #[test]
    fn what_is_not_propagated_is_neither_read_nor_written_nor_taken_out() {
        let received = headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("baggage", "k=v")]);
        let context = Propagators::default()
            .take_baggage(BaggageKeys::danger_all())
            .extract_with_context(&Context::new(), &HeaderExtractor(&received));
        let none = Propagators::none().take_baggage(BaggageKeys::danger_all()).send_baggage(BaggageKeys::danger_all());
        let received = Carried::by(&received);
        assert!(none.extract(&received).is_none() && none.extract_baggage(&received).is_empty());
        let mut sent = headers(&[("traceparent", "theirs"), ("baggage", "theirs=1")]);
        none.inject(&context, &mut sent);
        assert_eq!(sent, headers(&[("traceparent", "theirs"), ("baggage", "theirs=1")]));
        assert_eq!(none.fields().count(), 0);
    }

    #[test]
    fn baggage_that_is_not_allowed_is_taken_out_of_headers_that_were_copied() {
        let mut sent = headers(&[("baggage", "user=ada"), ("baggage", "more=1"), ("x", "y")]);
        Propagators::default().inject(&Context::new(), &mut sent);
        assert_eq!(sent, headers(&[("x", "y")]));
    }

    #[test]
    fn the_variable_names_which_propagators_there_are() {
        let read = |value: &str| {
            let config = Config::parse([("OTEL_PROPAGATORS", value)]).expect("valid");
            Propagators::read(&config.other)
        };
        let (both, context, baggage) =
            (Propagators::default(), Propagators::new(true, false), Propagators::new(false, true));
        for (value, expected) in [
            ("", &both),
            (" , ", &both),
            ("tracecontext,baggage", &both),
            ("baggage, tracecontext", &both),
            ("tracecontext,baggage,tracecontext", &both),
            ("tracecontext", &context),
            ("TraceContext,", &context),
            ("baggage", &baggage),
            ("none", &Propagators::none()),
            ("none,none", &Propagators::none()),
        ] {
            assert_eq!(&read(value).expect(value), expected, "{value}");
        }
        let unset = Config::parse([("OTHER", "1")]).expect("valid");
        assert_eq!(Propagators::read(&unset.other).expect("the default"), both);
        for (value, says) in [
            ("b3", "OTEL_PROPAGATORS: \"b3\" is not a propagator here; use tracecontext, baggage or none"),
            ("tracecontext,jaeger", "\"jaeger\" is not a propagator here"),
            ("none,baggage", "none stands alone"),
        ] {
            let error = read(value).expect_err(says);
            assert!(error.is_configuration() && error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_plain_map_is_a_carrier_too() {
        let mut carrier = HashMap::new();
        let context = Context::new().with_remote_span_context(of(&headers(&[("traceparent", GOOD)])));
        Propagators::default().inject_context(&context, &mut carrier);
        assert_eq!(Extractor::get(&carrier, "traceparent"), Some(GOOD));
        assert_eq!(carrier.len(), 1);
    }
}
