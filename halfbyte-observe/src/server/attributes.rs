//! What is said of a request, by the semantic conventions for HTTP and RPC, version 1.42.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use opentelemetry::{KeyValue, StringValue};

use super::facts::{Facts, Target};
use super::forwarded::{Client, Origin};
use super::instruments::Instruments;
use super::layer::Shared;
use super::recent::Generation;
use crate::conventions::{OTHER, clipped};
use crate::grpc::Code;

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
    let policy = &shared.policy;
    let recent = shared.instruments.recent.load();
    let call = facts.is_call();
    // Made all before they are moved: a processor waits for what it has just written in parts and reads as one.
    let mut what = if call { of_call(shared, facts) } else { of_request(shared, facts, request, &recent, path) };
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let header = || request.headers().get(HOST).map(|value| value.as_bytes());
    let authority = origin.host.map(str::as_bytes).or(authority).or_else(header);
    let (server, server_port) = authority.and_then(|authority| recent.host(authority)).unzip();
    let (peer, peer_port) = peer.map(|peer| (recent.address(peer.ip()), peer.port())).unzip();
    let (client, client_port) = match origin.client {
        Client::Peer => (peer.clone(), peer_port),
        Client::At(address, port) => (Some(recent.address(address)), port),
        Client::Unknown => (None, None),
    };
    // Opt-in for HTTP, and recommended for RPC.
    let client_port = client_port.filter(|_| call || policy.client_port);
    let mut who = [
        facts.version.as_str().map(|version| KeyValue::new("network.protocol.version", version)),
        server.map(|host| KeyValue::new("server.address", host)),
        port("server.port", server_port.flatten()),
        client.map(|address| KeyValue::new("client.address", address)),
        port("client.port", client_port),
        peer.map(|address| KeyValue::new("network.peer.address", address)),
        port("network.peer.port", peer_port),
    ];

    let mut attributes = Vec::with_capacity(ROOM + policy.request_headers.len() + policy.response_headers.len());
    attributes.extend(what.iter_mut().filter_map(Option::take));
    attributes.extend(who.iter_mut().filter_map(Option::take));
    if !policy.request_headers.is_empty() {
        attributes.extend(policy.request_headers.of(request.headers(), call));
    }
    attributes
}

fn port(key: &'static str, port: Option<u16>) -> Option<KeyValue> {
    port.map(|port| KeyValue::new(key, i64::from(port)))
}

fn of_request<B>(
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    recent: &Generation,
    path: StringValue,
) -> [Option<KeyValue>; 7] {
    let instruments = &shared.instruments;
    let method = instruments.method_name(facts.method);
    let original = (method == OTHER).then(|| clipped(request.method().as_str()).to_owned());
    let query = request.uri().query().filter(|_| shared.policy.query);
    let agent = request.headers().get(USER_AGENT).and_then(|agent| recent.agent(agent));
    [
        Some(KeyValue::new("http.request.method", method)),
        original.map(|method| KeyValue::new("http.request.method_original", method)),
        Some(KeyValue::new("url.path", path)),
        Some(KeyValue::new("url.scheme", facts.scheme.as_str())),
        query.map(|query| {
            let query = instruments.instrumentation.redaction.query(query);
            KeyValue::new("url.query", clipped(&query).to_owned())
        }),
        instruments.route(&facts.target).map(|route| KeyValue::new("http.route", route)),
        agent.map(|agent| KeyValue::new("user_agent.original", agent)),
    ]
}

/// A method that is not known is named at the end, when it may be.
fn of_call(shared: &Shared, facts: &Facts) -> [Option<KeyValue>; 7] {
    let method = match facts.target {
        Target::Method(number) => shared.instruments.rpc_methods.get(number),
        _ => None,
    };
    [
        Some(KeyValue::new("rpc.system.name", "grpc")),
        method.map(|method| KeyValue::new("rpc.method", method.value())),
        Some(KeyValue::new("network.protocol.name", "http")),
        None,
        None,
        None,
        None,
    ]
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
