use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halfbyte_core::problem::{Kind, is_grpc};
use halfbyte_core::{Caller, PeerAddress, RequestId};
use http::{Extensions, HeaderMap, Request, StatusCode};
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::attributes::{self, ErrorType, Measured};
use super::facts::{Facts, Target};
use super::forwarded::{self, Origin};
use super::inbound::{Inbound, contains};
use super::layer::Shared;
use super::noted::Noted;
use super::route::Route;
use super::span::{self, Current};
use crate::conventions::{OTHER, clipped};
use crate::grpc::{self, Code};
use crate::instrumentation::Tracer;

/// One request and its response: owned by whatever drives them, so that it ends exactly once, when it is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    span: Current,
    /// Whether the context is to be current, which is only where there is a trace or baggage.
    attaches: bool,
    started: Instant,
    facts: Facts,
    logged: Option<Box<Logged>>,
    status: Option<StatusCode>,
    code: Option<Code>,
    refusal: Option<Kind>,
    caller: Caller,
    ending: Ending,
}

/// What only the line of the log needs, if there will be one.
#[derive(Debug)]
struct Logged {
    path: Arc<str>,
    request_id: Option<RequestId>,
}

/// How it ends if it were dropped now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of the response was handed on.
    Complete,
    /// Dropped before that: the client hung up, or something outside gave up.
    Cancelled,
    /// The service answered an error in place of a response.
    Failed,
    /// The response's body answered an error.
    BrokenBody,
    /// A panic unwound.
    Panicked,
}

impl Ending {
    fn error_type(self) -> Option<&'static str> {
        match self {
            Ending::Complete => None,
            Ending::Cancelled => Some("cancelled"),
            Ending::Failed => Some("service_error"),
            Ending::BrokenBody => Some("body_error"),
            Ending::Panicked => Some("panic"),
        }
    }
}

impl Exchange {
    pub(super) fn start<B>(shared: &Arc<Shared>, request: &Request<B>) -> Self {
        let started = Instant::now();
        let (instruments, policy) = (&shared.instruments, &shared.policy);
        // Else there is neither a span nor anybody who is believed.
        let asks = !matches!(instruments.instrumentation.tracer, Tracer::None) || policy.depends_on_the_peer();
        let peer = if asks { request.extensions().get() } else { None };
        let peer = peer.map(|PeerAddress(address)| *address);
        let peer = peer.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let origin = match peer {
            Some(peer) if contains(&policy.proxies, peer.ip()) => forwarded::origin(request.headers(), &policy.proxies),
            _ => Origin::default(),
        };
        let facts = Facts::of(request, instruments, origin.scheme);
        let noted = if asks { Noted::of(request.headers()) } else { Noted::nothing(request.headers()) };
        let path = clipped(request.uri().path());
        let logged = tracing::enabled!(target: "halfbyte::access", tracing::Level::INFO)
            .then(|| Box::new(Logged { path: path.into(), request_id: request.extensions().get().copied() }));
        let describe = || {
            // Shared with the line of the log, if there will be one.
            let path = || logged.as_ref().map_or_else(|| path.to_owned().into(), |logged| logged.path.clone().into());
            attributes::at_start(shared, &facts, request, &noted, (peer, &origin), path)
        };

        let propagators = &instruments.instrumentation.propagators;
        let span = if asks {
            let inbound = Inbound::of(&noted.carried, peer.map(|peer| peer.ip()), &policy.traces, propagators);
            span::start(instruments, &facts, inbound, started, describe)
        } else {
            Current { context: Context::new(), recording: false, began: None }
        };
        let attaches = asks && (span.context.has_active_span() || !span.context.baggage().is_empty());
        if let Some(active) = instruments.active(&facts) {
            active.add(1);
        }
        Self {
            shared: shared.clone(),
            span,
            attaches,
            started,
            facts,
            logged,
            status: None,
            code: None,
            refusal: None,
            caller: Caller::default(),
            ending: Ending::Cancelled,
        }
    }

    /// Runs `work` with the span as the current one. Inlined, so that what it returns is not copied once more.
    #[inline(always)]
    pub(super) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _attached = self.attaches.then(|| self.span.context.clone().attach());
        // Stays so if `work` unwinds.
        let ending = mem::replace(&mut self.ending, Ending::Panicked);
        let output = self.caller.within(work);
        self.ending = ending;
        output
    }

    /// Takes note of the response; answers whether it may have content.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, extensions: &Extensions) -> bool {
        self.status = Some(status);
        self.refusal = extensions.get::<Kind>().copied();
        if self.facts.is_call() {
            self.code = Code::of(headers);
            if self.code.is_none() && !is_grpc(headers) {
                self.was_no_call();
            }
        }
        let call = self.facts.is_call();
        if matches!(self.facts.target, Target::NoRoute)
            && let Some(route) = extensions.get::<Route>()
        {
            self.routed(route);
        }
        let allowed = &self.shared.policy.response_headers;
        if self.span.recording && !allowed.is_empty() {
            self.span.context.span().set_attributes(allowed.of(headers, call));
        }
        let no_content = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304);
        !(no_content || self.facts.is_head)
    }

    /// What answers is no gRPC: whatever the client has said, it is a plain request.
    fn was_no_call(&mut self) {
        let Target::Original(method, route) = &self.facts.target else { return };
        let path: Arc<str> = format!("/{method}").into();
        self.facts.target = route.map_or(Target::NoRoute, Target::Route);
        if self.span.recording {
            let instruments = &self.shared.instruments;
            let span = self.span.context.span();
            span.update_name(instruments.span_name(&self.facts));
            span.set_attributes(attributes::of_plain(instruments, &self.facts, path));
        }
    }

    /// A router further in says which route it was.
    fn routed(&mut self, route: &Route) {
        let instruments = &self.shared.instruments;
        self.facts.target = Target::of_route(route.as_str(), instruments);
        if self.span.recording {
            let span = self.span.context.span();
            span.update_name(instruments.span_name(&self.facts));
            span.set_attributes(instruments.route(&self.facts.target).map(|route| KeyValue::new("http.route", route)));
        }
    }

    /// Whether the status is still to come, behind the body.
    pub(super) fn awaits_trailers(&self) -> bool {
        self.facts.is_call() && self.code.is_none()
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.facts.is_call() {
            self.code = Code::of(trailers).or(self.code);
        }
    }

    pub(super) fn will_end(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// Ends the one that is there, in its place: it is too large to be passed around for nothing.
    pub(super) fn end(exchange: &mut Option<Self>, ending: Ending) {
        if let Some(exchange) = exchange {
            exchange.ending = ending;
        }
        *exchange = None;
    }

    /// A response of gRPC that is complete and has no status has the one that its client makes of it.
    fn settle_code(&mut self) {
        if self.facts.is_call() && self.code.is_none() && self.ending == Ending::Complete {
            self.code = self.status.map(Code::of_http);
        }
    }

    fn error_type(&self) -> Option<ErrorType> {
        match (self.ending.error_type(), self.status, self.code) {
            (Some(error), ..) => Some(ErrorType::Ending(error)),
            (None, _, Some(code)) => code.is_server_error().then_some(ErrorType::Code(code)),
            (None, Some(status), None) => status.is_server_error().then_some(ErrorType::Status(status)),
            (None, None, None) => None,
        }
    }

    /// A call of a method that was not known names the span now, if it is known by its answer.
    fn settle_method(&mut self) {
        let Target::Original(original, _) = &self.facts.target else { return };
        let instruments = &self.shared.instruments;
        let proven = self.status == Some(StatusCode::OK) && self.code.is_some_and(Code::proves_the_method);
        let number = (proven && grpc::is_method(original)).then(|| instruments.intern_rpc(original)).flatten();
        // Else another call may have made it known meanwhile.
        let number = number.or_else(|| instruments.rpc_methods.find(original));
        let method = number.and_then(|number| instruments.rpc_methods.get(number));
        if self.span.recording {
            let span = self.span.context.span();
            match method {
                Some(method) => {
                    span.update_name(method.name(0, ""));
                    span.set_attribute(KeyValue::new("rpc.method", method.value()));
                }
                None => span.set_attributes([
                    KeyValue::new("rpc.method", OTHER),
                    KeyValue::new("rpc.method_original", original.clone()),
                ]),
            }
        }
        if let Some(number) = number {
            self.facts.target = Target::Method(number);
        }
    }

    fn record_span(&self, error: Option<ErrorType>) {
        let span = self.span.context.span();
        let status = if self.facts.is_call() {
            self.code.map(|code| KeyValue::new("rpc.response.status_code", code.name()))
        } else {
            self.status.map(attributes::status_code)
        };
        let principal = self.caller.principal();
        if error.is_none() && self.refusal.is_none() && principal.is_none() {
            if let Some(status) = status {
                span.set_attribute(status);
            }
            return;
        }
        let instruments = &self.shared.instruments;
        let users = instruments.instrumentation.users.as_ref();
        let tenant = principal.map(|principal| {
            let tenant = principal.tenant().as_str();
            KeyValue::new("halfbyte.tenant", instruments.recent.load().tenant(tenant).into_owned())
        });
        let pseudonym =
            principal.zip(users).map(|(principal, users)| KeyValue::new("enduser.pseudo.id", users.hash(principal)));
        let rest = [
            error.map(ErrorType::attribute),
            self.refusal.map(|refusal| KeyValue::new("halfbyte.refusal", refusal.slug())),
            tenant,
            principal.map(|principal| KeyValue::new("halfbyte.principal.kind", principal.kind().as_str())),
            pseudonym,
        ];
        span.set_attributes(status.into_iter().chain(rest.into_iter().flatten()));
        // A client that goes away is no fault of the server.
        let server_error =
            self.status.is_some_and(|status| status.is_server_error()) || self.code.is_some_and(Code::is_server_error);
        if error.is_some() && (self.ending != Ending::Cancelled || server_error) {
            span.set_status(Status::error(""));
        }
    }

    fn measure(&self, took: Duration, error: Option<ErrorType>) {
        let (instruments, facts) = (&self.shared.instruments, &self.facts);
        let (number, tenant) = match (&self.shared.policy.tenants, self.caller.principal()) {
            (Some(tenants), Some(principal)) => match tenants.intern(principal.tenant().as_str(), 0) {
                Some(number) => (number.get(), tenants.get(number).map(|tenant| tenant.value())),
                None => (u32::MAX, Some(OTHER.into())),
            },
            _ => (0, None),
        };
        let (status, code) = (self.status, self.code);
        let of = Measured { instruments, facts, status, code, error, tenant };
        let ending = (self.ending as u128) << 8;
        let tenant = u128::from(number) << 64;
        let context = self.span.context.span();
        let span = context.span_context();
        let (call, target) = match &facts.target {
            Target::Method(number) => (true, Some(number.get())),
            Target::Original(..) => (true, Some(0)),
            Target::NoRoute => (false, Some(0)),
            Target::Route(number) => (false, Some(number.get())),
            Target::TooMany(_) => (false, None),
        };
        let common = target.map(|target| u128::from(target) << 32 | ending | tenant);
        let at = || self.started + took;
        if call {
            let code = code.map_or(u128::from(u8::MAX), |code| u128::from(code.number()));
            instruments.rpc.record(common.map(|common| common | code), || of.attributes(), (took, at), span);
        } else {
            let status = status.map_or(0, |status| u128::from(status.as_u16())) << 16;
            let rest = u128::from(facts.method) | (facts.scheme as u128) << 8 | (facts.version as u128) << 16;
            let key = common.map(|common| common | status | rest << 96);
            instruments.http.record(key, || of.attributes(), (took, at), span);
        }
    }

    /// `POST /labels 201 1.3ms`
    fn log(&self, took: Duration) {
        let Some(logged) = &self.logged else { return };
        // Current once more, so that the line names the span.
        let _attached = self.span.context.clone().attach();
        let request_id = logged.request_id.as_ref().map(RequestId::as_str);
        let status = self.status.as_ref().map_or("-", StatusCode::as_str);
        let (space, ending) = self.ending.error_type().map_or(("", ""), |error| (" ", error));
        tracing::info!(
            target: "halfbyte::access",
            request_id,
            refusal = self.refusal.map(|kind| kind.slug()),
            "{} {} {status}{space}{ending} {took:.1?}",
            self.shared.instruments.method_name(self.facts.method),
            logged.path,
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.settle_code();
        self.settle_method();
        let error = self.error_type();
        if self.span.recording {
            self.record_span(error);
        }
        if self.logged.is_some() {
            let mut caller = mem::take(&mut self.caller);
            caller.within(|| self.log(took));
            self.caller = caller;
        }
        self.measure(took, error);
        if let Some(active) = self.shared.instruments.active(&self.facts) {
            active.add(-1);
        }
        if self.span.recording {
            match self.span.began {
                // As long as the measurement says.
                Some(began) => self.span.context.span().end_with_timestamp(began + took),
                None => self.span.context.span().end(),
            }
        }
    }
}
