//! What is said of a request, by the semantic conventions for HTTP and RPC, version 1.42.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use opentelemetry::{KeyValue, StringValue, Value};

use super::facts::{Facts, Target};
use super::forwarded::{Client, Origin};
use super::instruments::Instruments;
use super::layer::Shared;
use super::noted::Noted;
use crate::conventions::{OTHER, clipped};
use crate::grpc::Code;

/// As many as there are mostly, from start to end: a list of more than a thousand bytes costs an allocator much more.
const ROOM: usize = 18;

/// What the span says from its start, so that a sampler can go by it.
pub(super) fn at_start<B>(
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    noted: &Noted<'_>,
    (peer, origin): (Option<SocketAddr>, &Origin<'_>),
    path: impl Fn() -> StringValue,
) -> Vec<KeyValue> {
    let (policy, instruments) = (&shared.policy, &shared.instruments);
    let recent = instruments.recent.load();
    let call = facts.is_call();
    let mut list = Vec::with_capacity(ROOM + policy.request_headers.len() + policy.response_headers.len());
    if call {
        put(&mut list, "rpc.system.name", || "grpc");
        // One that is not known is named at the end, when it may be.
        if let Target::Method(number) = facts.target
            && let Some(method) = instruments.rpc_methods.get(number)
        {
            put(&mut list, "rpc.method", || method.value());
        }
        put(&mut list, "network.protocol.name", || "http");
    } else {
        let method = instruments.method_name(facts.method);
        put(&mut list, "http.request.method", || method);
        if method == OTHER {
            put(&mut list, "http.request.method_original", || clipped(request.method().as_str()).to_owned());
        }
        put(&mut list, "url.path", path);
        put(&mut list, "url.scheme", || facts.scheme.as_str());
        if let Some(query) = request.uri().query().filter(|_| policy.query) {
            let query = instruments.instrumentation.redaction.query(query);
            put(&mut list, "url.query", || clipped(&query).to_owned());
        }
        if let Some(route) = instruments.route(&facts.target) {
            put(&mut list, "http.route", || route.clone());
        }
        if let Some(agent) = noted.agent.map(|agent| recent.agent(agent))
            && let Some(agent) = agent.as_ref()
        {
            put(&mut list, "user_agent.original", || agent.clone());
        }
    }
    if let Some(version) = facts.version.as_str() {
        put(&mut list, "network.protocol.version", || version);
    }
    let authority = || request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let header = || noted.host.map(|value| value.as_bytes());
    let authority = origin.host.map(str::as_bytes).or_else(authority).or_else(header);
    let asked = authority.map(|authority| recent.host(authority));
    if let Some(Some((host, port))) = asked.as_deref() {
        put(&mut list, "server.address", || host.clone());
        if let Some(port) = port {
            put(&mut list, "server.port", || i64::from(*port));
        }
    }
    let near = peer.map(|peer| (recent.address(peer.ip()), i64::from(peer.port())));
    let (client, client_port) = match (origin.client, &near) {
        (Client::Peer, Some((address, port))) => (Some(Cow::Borrowed(&**address)), Some(*port)),
        (Client::At(address, port), _) => (Some(recent.address(address)), port.map(i64::from)),
        (Client::Peer, None) | (Client::Unknown, _) => (None, None),
    };
    if let Some(client) = client {
        put(&mut list, "client.address", || StringValue::clone(&client));
    }
    // Opt-in for HTTP, and recommended for RPC.
    if let Some(port) = client_port.filter(|_| call || policy.client_port) {
        put(&mut list, "client.port", || port);
    }
    if let Some((address, port)) = &near {
        put(&mut list, "network.peer.address", || StringValue::clone(address));
        put(&mut list, "network.peer.port", || *port);
    }
    if !policy.request_headers.is_empty() {
        list.extend(policy.request_headers.of(request.headers(), call));
    }
    list
}

/// Makes a pair where it stays. One that is made first, and pushed then, is written in parts and read as one at once, for
/// which a processor has to wait.
#[inline(always)]
fn put<V: Into<Value>>(list: &mut Vec<KeyValue>, key: &'static str, value: impl Fn() -> V) {
    list.resize_with(list.len() + 1, || KeyValue::new(key, value()));
}

/// What a request has that was taken for a call at first.
pub(super) fn of_plain(instruments: &Instruments, facts: &Facts, path: Arc<str>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", instruments.method_name(facts.method)),
        KeyValue::new("url.path", path),
        KeyValue::new("url.scheme", facts.scheme.as_str()),
    ];
    attributes.extend(instruments.route(&facts.target).map(|route| KeyValue::new("http.route", route)));
    attributes
}

pub(super) fn status_code(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

/// What went wrong, as `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorType {
    /// Of the request, before there was a whole response.
    Ending(&'static str),
    Status(StatusCode),
    Code(Code),
}

impl ErrorType {
    pub(super) fn attribute(self) -> KeyValue {
        match self {
            Self::Ending(name) => KeyValue::new("error.type", name),
            Self::Status(status) => KeyValue::new("error.type", status.as_str().to_owned()),
            Self::Code(code) => KeyValue::new("error.type", code.name()),
        }
    }
}

/// What tells a series of the duration from the others.
pub(super) struct Measured<'a> {
    pub(super) instruments: &'a Instruments,
    pub(super) facts: &'a Facts,
    pub(super) status: Option<StatusCode>,
    pub(super) code: Option<Code>,
    pub(super) error: Option<ErrorType>,
    /// None unless it is to be told by its tenants.
    pub(super) tenant: Option<StringValue>,
}

impl Measured<'_> {
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(8);
        let (instruments, facts) = (self.instruments, self.facts);
        if facts.is_call() {
            attributes.push(KeyValue::new("rpc.system.name", "grpc"));
            attributes.push(match &facts.target {
                Target::Method(number) if let Some(method) = instruments.rpc_methods.get(*number) => {
                    KeyValue::new("rpc.method", method.value())
                }
                _ => KeyValue::new("rpc.method", OTHER),
            });
            attributes.extend(self.code.map(|code| KeyValue::new("rpc.response.status_code", code.name())));
        } else {
            attributes.push(KeyValue::new("http.request.method", instruments.method_name(facts.method)));
            attributes.push(KeyValue::new("url.scheme", facts.scheme.as_str()));
            attributes.extend(self.status.map(status_code));
            attributes.extend(instruments.route(&facts.target).map(|route| KeyValue::new("http.route", route)));
            let version = facts.version.as_str();
            attributes.extend(version.map(|version| KeyValue::new("network.protocol.version", version)));
        }
        attributes.extend(self.error.map(ErrorType::attribute));
        attributes.extend(self.tenant.clone().map(|tenant| KeyValue::new("halfbyte.tenant", tenant)));
        attributes
    }
}
