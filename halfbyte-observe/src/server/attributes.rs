//! What is said of a request, by the semantic conventions for HTTP and RPC, version 1.42.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use opentelemetry::KeyValue;

use super::facts::{Facts, Rpc, clipped};
use super::forwarded::{Client, Origin};
use super::grpc::Code;
use super::instruments::{Instruments, OTHER};
use super::layer::Shared;

/// The start has up to 15 without headers, the end up to 7.
const ROOM: usize = 22;

/// What the span says from its start, so that a sampler can go by it.
pub(super) fn at_start<B>(
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    (peer, origin): (Option<SocketAddr>, &Origin<'_>),
    path: &Arc<str>,
) -> Vec<KeyValue> {
    let (instruments, policy) = (&shared.instruments, &shared.policy);
    let room = ROOM + policy.request_headers.len() + policy.response_headers.len();
    let mut attributes = Vec::with_capacity(room);
    match &facts.rpc {
        Some(rpc) => of_call(&mut attributes, instruments, rpc),
        None => of_request(&mut attributes, shared, facts, request, path),
    }
    if let Some(version) = facts.version.as_str() {
        attributes.push(KeyValue::new("network.protocol.version", version));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let header = || request.headers().get(HOST).map(|value| value.as_bytes());
    if let Some((host, port)) =
        origin.host.map(str::as_bytes).or(authority).or_else(header).and_then(|authority| instruments.host(authority))
    {
        attributes.push(KeyValue::new("server.address", host));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    let client = match origin.client {
        Client::Peer => peer.map(|peer| (peer.ip(), Some(peer.port()))),
        Client::At(address, port) => Some((address, port)),
        Client::Unknown => None,
    };
    if let Some((address, port)) = client {
        attributes.push(KeyValue::new("client.address", instruments.address(address)));
        // Opt-in for HTTP, and recommended for RPC.
        let port = port.filter(|_| facts.rpc.is_some() || policy.client_port);
        attributes.extend(port.map(|port| KeyValue::new("client.port", i64::from(port))));
    }
    if let Some(peer) = peer {
        attributes.push(KeyValue::new("network.peer.address", instruments.address(peer.ip())));
        attributes.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
    }
    if !policy.request_headers.is_empty() {
        attributes.extend(policy.request_headers.of(request.headers(), facts.rpc.is_some()));
    }
    attributes
}

fn of_request<B>(
    attributes: &mut Vec<KeyValue>,
    shared: &Shared,
    facts: &Facts,
    request: &Request<B>,
    path: &Arc<str>,
) {
    let instruments = &shared.instruments;
    let method = instruments.method_name(facts.method);
    attributes.push(KeyValue::new("http.request.method", method));
    if method == OTHER {
        attributes.push(KeyValue::new("http.request.method_original", clipped(request.method().as_str()).to_owned()));
    }
    attributes.push(KeyValue::new("url.path", path.clone()));
    attributes.push(KeyValue::new("url.scheme", facts.scheme.as_str()));
    if let Some(query) = request.uri().query().filter(|_| shared.policy.query) {
        attributes.push(KeyValue::new(
            "url.query",
            clipped(&shared.instruments.instrumentation.redaction.query(query)).to_owned(),
        ));
    }
    attributes.extend(instruments.route(&facts.route).map(|route| KeyValue::new("http.route", route)));
    if let Some(agent) = request.headers().get(USER_AGENT)
        && let Ok(text) = agent.to_str()
    {
        let agent = instruments.agents.get(agent.as_bytes(), || clipped(text).into());
        attributes.push(KeyValue::new("user_agent.original", agent));
    }
}

/// A method that is not known is named at the end, when it may be.
fn of_call(attributes: &mut Vec<KeyValue>, instruments: &Instruments, rpc: &Rpc) {
    attributes.push(KeyValue::new("rpc.system.name", "grpc"));
    if let Rpc::Known(number) = rpc
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
        match &self.facts.rpc {
            Some(rpc) => {
                attributes.push(KeyValue::new("rpc.system.name", "grpc"));
                let method = match rpc {
                    Rpc::Known(number) => self.instruments.rpc_methods.get(*number).map(|method| method.text().clone()),
                    Rpc::Original(_) => None,
                };
                attributes.push(
                    method.map_or(KeyValue::new("rpc.method", OTHER), |method| KeyValue::new("rpc.method", method)),
                );
                attributes.extend(self.code.map(|code| KeyValue::new("rpc.response.status_code", code.name())));
            }
            None => {
                let facts = self.facts;
                attributes.push(KeyValue::new("http.request.method", self.instruments.method_name(facts.method)));
                attributes.push(KeyValue::new("url.scheme", facts.scheme.as_str()));
                attributes.extend(self.status.map(status_code));
                let route = self.instruments.route(&facts.route);
                attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
                let version = facts.version.as_str();
                attributes.extend(version.map(|version| KeyValue::new("network.protocol.version", version)));
            }
        }
        attributes.extend(self.error.map(ErrorType::attribute));
        attributes.extend(self.tenant.clone().map(|tenant| KeyValue::new("halfbyte.tenant", tenant)));
        attributes
    }
}
