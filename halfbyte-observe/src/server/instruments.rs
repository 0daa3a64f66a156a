//! What a layer and all services that it makes record with.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Method;
use opentelemetry::metrics::{BoundUpDownCounter, UpDownCounter};
use opentelemetry::{KeyValue, StringValue};

use super::facts::{Facts, Scheme, Target};
use super::recent::Recent;
use crate::Instrumentation;
use crate::conventions::{METHODS, OTHER};
use crate::metrics::{Durations, Texts};

/// As many as there may be series.
const ROUTES: usize = 2_000;

/// The methods of gRPC that are told apart.
const RPC_METHODS: usize = 512;

pub(super) struct Instruments {
    pub(super) instrumentation: Instrumentation,
    pub(super) methods: Vec<&'static str>,
    // The same in the same order, as requests have them; None of a text that no request can have.
    known: Vec<Option<Method>>,
    pub(super) http: Arc<Durations>,
    pub(super) rpc: Arc<Durations>,
    active: UpDownCounter<i64>,
    // For each method and scheme.
    bound: Vec<OnceLock<BoundUpDownCounter<i64>>>,
    pub(super) routes: Texts,
    pub(super) rpc_methods: Texts,
    pub(super) recent: Recent,
    /// What to expect of the next span of a trace that starts here, and of one whose parent is not sampled: whether
    /// attributes that are given to it will be of use.
    pub(super) roots: Expectation,
    pub(super) unsampled: Expectation,
}

impl Instruments {
    pub(super) fn new(instrumentation: Instrumentation, methods: Option<Vec<&'static str>>) -> Self {
        let methods = methods.unwrap_or_else(|| METHODS.to_vec());
        let meter = &instrumentation.meter;
        let durations = |name, description| {
            let durations = Durations::new(meter, instrumentation.exemplars.filter(), name, description);
            instrumentation.exemplars.add(&durations);
            durations
        };
        let http = durations("http.server.request.duration", "Duration of HTTP server requests.");
        let description = "Measures the duration of an incoming Remote Procedure Call (RPC).";
        let rpc = durations("rpc.server.call.duration", description);
        let active = meter
            .i64_up_down_counter("http.server.active_requests")
            .with_description("Number of active HTTP server requests.")
            .with_unit("{request}")
            .build();
        Self {
            http,
            rpc,
            active,
            bound: std::iter::repeat_with(OnceLock::new).take((methods.len() + 1) * 2).collect(),
            routes: Texts::new(ROUTES),
            rpc_methods: Texts::new(RPC_METHODS),
            recent: Recent::new(),
            roots: Expectation::new(true),
            unsampled: Expectation::new(false),
            known: methods.iter().map(|method| Method::from_bytes(method.as_bytes()).ok()).collect(),
            methods,
            instrumentation,
        }
    }

    /// The gauge of the requests that are under way.
    pub(super) fn active(&self, facts: &Facts) -> Option<&BoundUpDownCounter<i64>> {
        let slot = self.bound.get(usize::from(facts.method) * 2 + usize::from(facts.scheme == Scheme::Https))?;
        Some(slot.get_or_init(|| {
            self.active.bind(&[
                KeyValue::new("http.request.method", self.method_name(facts.method)),
                KeyValue::new("url.scheme", facts.scheme.as_str()),
            ])
        }))
    }

    pub(super) fn method(&self, method: &Method) -> u8 {
        let is = |known: &Option<Method>| known.as_ref() == Some(method);
        let place = self.known.iter().position(is).unwrap_or(self.known.len());
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    pub(super) fn method_name(&self, method: u8) -> &'static str {
        self.methods.get(usize::from(method)).copied().unwrap_or(OTHER)
    }

    pub(super) fn intern_route(&self, route: &str) -> Option<NonZeroU32> {
        self.routes.intern(route, self.methods.len() + 1)
    }

    pub(super) fn intern_rpc(&self, method: &str) -> Option<NonZeroU32> {
        self.rpc_methods.intern(method, 1)
    }

    /// `http.route`
    pub(super) fn route(&self, target: &Target) -> Option<StringValue> {
        match target {
            Target::Route(number) => Some(self.routes.get(*number)?.value()),
            Target::TooMany(route) => Some(route.clone().into()),
            _ => None,
        }
    }

    /// Of low cardinality: never the path.
    pub(super) fn span_name(&self, facts: &Facts) -> Cow<'static, str> {
        let method = || self.methods.get(usize::from(facts.method)).copied().unwrap_or("HTTP");
        match &facts.target {
            Target::NoRoute => method().into(),
            Target::Route(number) => match self.routes.get(*number) {
                Some(route) => route.name(facts.method.into(), method()),
                None => method().into(),
            },
            Target::TooMany(route) => format!("{} {route}", method()).into(),
            Target::Method(number) => self.rpc_methods.get(*number).map_or("grpc".into(), |method| method.name(0, "")),
            Target::Original(..) => "grpc".into(),
        }
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

/// What the last of many alike was like.
pub(super) struct Expectation(AtomicBool);

impl Expectation {
    fn new(expected: bool) -> Self {
        Self(AtomicBool::new(expected))
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, seen: bool) {
        if self.get() != seen {
            self.0.store(seen, Ordering::Relaxed);
        }
    }
}
