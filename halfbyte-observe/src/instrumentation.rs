use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{Span, SpanBuilder, SpanContext, TraceContextExt as _, Tracer as _, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

use crate::metrics::Exemplars;

/// What [`init`](crate::init) has set up for this process.
static PROCESS: OnceLock<Instrumentation> = OnceLock::new();

/// What the layers record with: that of the [process](Self::process), of a test, or of providers of your own.
///
/// Cloning is cheap, and clones record into the same.
#[derive(Clone, Debug)]
pub struct Instrumentation {
    pub(crate) tracer: Tracer,
    pub(crate) meter: Meter,
    pub(crate) exemplars: Arc<Exemplars>,
    pub(crate) users: Option<Users>,
}

impl Instrumentation {
    /// What [`init`](crate::init) has set up; before it, the global providers of OpenTelemetry.
    pub fn process() -> Self {
        PROCESS.get().cloned().unwrap_or_else(|| {
            let tracer = Arc::new(global::tracer_with_scope(scope()));
            Self::of(Tracer::Global(tracer), global::meter_with_scope(scope()))
        })
    }

    /// Providers of your own SDK.
    pub fn new(traces: &SdkTracerProvider, metrics: &impl MeterProvider) -> Self {
        Self::of(Tracer::Sdk(traces.tracer_with_scope(scope())), metrics.meter_with_scope(scope()))
    }

    /// Metrics alone: requests make no spans, and belong to a trace only if they came with one.
    pub fn metrics_only(metrics: &impl MeterProvider) -> Self {
        Self::of(Tracer::None, metrics.meter_with_scope(scope()))
    }

    fn of(tracer: Tracer, meter: Meter) -> Self {
        Self { tracer, meter, exemplars: Arc::default(), users: None }
    }

    /// Spans name the user as `enduser.pseudo.id`: a hash of tenant and subject under `key` (HMAC-SHA-256, the first half
    /// in hex), by which the requests of one person can be found by those who have the key. Without a key, spans name
    /// no user.
    ///
    /// Keep the key where the other secrets are, at least 32 random bytes, and change it to cut the past off.
    #[must_use]
    pub fn pseudonyms(mut self, key: &[u8]) -> Self {
        self.users = Some(Users(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key))));
        self
    }

    /// Makes this the one of the process; the first one stays.
    pub(crate) fn install(self) {
        let _first_stays = PROCESS.set(self);
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(crate::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Makes pseudonyms of users.
#[derive(Clone)]
pub(crate) struct Users(Arc<hmac::Key>);

impl Users {
    pub(crate) fn pseudonym(&self, tenant: &str, subject: &str) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        // The length first: else a tenant could be made whose users look like those of another.
        signed.update(&(tenant.len() as u64).to_be_bytes());
        signed.update(tenant.as_bytes());
        signed.update(subject.as_bytes());
        signed.sign().as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
            let _never_fails = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
            text
        })
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

/// A tracer. The SDK's own spares its spans a box.
#[derive(Clone)]
pub(crate) enum Tracer {
    Sdk(SdkTracer),
    Global(Arc<BoxedTracer>),
    None,
}

impl Tracer {
    /// Starts a span that is not current yet.
    pub(crate) fn start(&self, builder: SpanBuilder, parent: &Context) -> Started {
        match self {
            Self::Sdk(tracer) => Started::Sdk(tracer.build_with_context(builder, parent)),
            Self::Global(tracer) => Started::Boxed(tracer.build_with_context(builder, parent)),
            Self::None => Started::None,
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// A span before it is shared.
#[expect(clippy::large_enum_variant, reason = "a box for it is what this spares")]
pub(crate) enum Started {
    Sdk(SdkSpan),
    Boxed(BoxedSpan),
    /// There are to be none.
    None,
}

static NONE: SpanContext = SpanContext::NONE;

impl Started {
    pub(crate) fn span_context(&self) -> &SpanContext {
        match self {
            Self::Sdk(span) => span.span_context(),
            Self::Boxed(span) => span.span_context(),
            Self::None => &NONE,
        }
    }

    /// Whether attributes that are set on it go anywhere.
    pub(crate) fn is_recording(&self) -> bool {
        match self {
            Self::Sdk(span) => span.is_recording(),
            Self::Boxed(span) => span.is_recording(),
            Self::None => false,
        }
    }

    /// Before it is shared, this takes no lock.
    pub(crate) fn set_attributes(&mut self, attributes: Vec<KeyValue>) {
        match self {
            Self::Sdk(span) => span.set_attributes(attributes),
            Self::Boxed(span) => span.set_attributes(attributes),
            Self::None => {}
        }
    }

    /// `parent` with this as its span.
    pub(crate) fn within(self, parent: &Context) -> Context {
        match self {
            Self::Sdk(span) => parent.with_span(span),
            Self::Boxed(span) => parent.with_span(span),
            Self::None => parent.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_the_key_the_tenant_and_the_subject_and_on_nothing_else() {
        let users = |key: &[u8]| Users(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)));
        let ada = users(b"one").pseudonym("acme", "ada");
        assert_eq!(ada.len(), 32);
        assert_eq!(users(b"one").pseudonym("acme", "ada"), ada);
        for other in [
            users(b"two").pseudonym("acme", "ada"),
            users(b"one").pseudonym("acme", "bob"),
            users(b"one").pseudonym("acm", "eada"),
        ] {
            assert_ne!(other, ada);
        }
    }
}
