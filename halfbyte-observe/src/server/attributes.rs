//! What is said of a request, by the semantic conventions for HTTP and RPC, version 1.42.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use opentelemetry::{KeyValue, StringValue};

use super::facts::{Facts, Target, clipped};
use super::forwarded::{Client, Origin};
use super::grpc::Code;
use super::instruments::{Instruments, OTHER};
use super::layer::Shared;
use super::query;

/// As many as there are mostly, from start to end: a list of more than a thousand bytes costs an allocator much more.
const ROOM: usize = 18;

/// What the span says from its start, so that a sampler can go by it.
pub(super) fn at_start<B>(
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    (peer, origin): (Option<SocketAddr>, &Origin<'_>),
    path: StringValue,
) -> Vec<KeyValue> {
    let (instruments, policy) = (&shared.instruments, &shared.policy);
    let room = ROOM + policy.request_headers.len() + policy.response_headers.len();
    let mut attributes = Vec::with_capacity(room);
    let recent = instruments.recent.load();
    let call = facts.is_call();
    if call {
        of_call(&mut attributes, instruments, &facts.target);
    } else {
        of_request(&mut attributes, shared, facts, request, path);
        let agent = request.headers().get(USER_AGENT).and_then(|agent| recent.agent(agent));
        attributes.extend(agent.map(|agent| KeyValue::new("user_agent.original", agent)));
    }
    if let Some(version) = facts.version.as_str() {
        attributes.push(KeyValue::new("network.protocol.version", version));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let header = || request.headers().get(HOST).map(|value| value.as_bytes());
    if let Some((host, port)) = origin
        .host
        .map(str::as_bytes)
        .or(authority)
        .or_else(header)
        .and_then(|authority| recent.host(authority))
    {
        attributes.push(KeyValue::new("server.address", host));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    let peer = peer.map(|peer| (recent.address(peer.ip()), peer.port()));
    let client = match origin.client {
        Client::Peer => peer.clone().map(|(address, port)| (address, Some(port))),
        Client::At(address, port) => Some((recent.address(address), port)),
        Client::Unknown => None,
    };
    if let Some((address, port)) = client {
        attributes.push(KeyValue::new("client.address", address));
        // Opt-in for HTTP, and recommended for RPC.
        let port = port.filter(|_| call || policy.client_port);
        attributes.extend(port.map(|port| KeyValue::new("client.port", i64::from(port))));
    }
    if let Some((address, port)) = peer {
        attributes.push(KeyValue::new("network.peer.address", address));
        attributes.push(KeyValue::new("network.peer.port", i64::from(port)));
    }
    if !policy.request_headers.is_empty() {
        attributes.extend(policy.request_headers.of(request.headers(), call));
    }
    attributes
}

fn of_request<B>(
    attributes: &mut Vec<KeyValue>,
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    path: StringValue,
) {
    let instruments = &shared.instruments;
    let method = instruments.method_name(facts.method);
    attributes.push(KeyValue::new("http.request.method", method));
    if method == OTHER {
        attributes.push(KeyValue::new("http.request.method_original", clipped(request.method().as_str()).to_owned()));
    }
    attributes.push(KeyValue::new("url.path", path));
    attributes.push(KeyValue::new("url.scheme", facts.scheme.as_str()));
    if let Some(query) = request.uri().query().filter(|_| shared.policy.query) {
        attributes.push(KeyValue::new("url.query", clipped(&query::redacted(query)).to_owned()));
    }
    attributes.extend(instruments.route(&facts.target).map(|route| KeyValue::new("http.route", route)));
}

/// A method that is not known is named at the end, when it may be.
fn of_call(attributes: &mut Vec<KeyValue>, instruments: &Instruments, target: &Target) {
    attributes.push(KeyValue::new("rpc.system.name", "grpc"));
    if let Target::Method(number) = target
        && let Some(method) = instruments.rpc_methods.get(*number)
    {
        attributes.push(KeyValue::new("rpc.method", method.text().clone()));
    }
    attributes.push(KeyValue::new("network.protocol.name", "http"));
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
    pub(super) tenant: Option<Arc<str>>,
}

impl Measured<'_> {
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(8);
        let (instruments, facts) = (self.instruments, self.facts);
        if facts.is_call() {
            attributes.push(KeyValue::new("rpc.system.name", "grpc"));
            attributes.push(match &facts.target {
                Target::Method(number) if let Some(method) = instruments.rpc_methods.get(*number) => {
                    KeyValue::new("rpc.method", method.text().clone())
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
