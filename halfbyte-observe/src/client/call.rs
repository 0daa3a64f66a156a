//! What is said of a call, by the semantic conventions for HTTP and for RPC.

use std::borrow::Cow;
use std::sync::Arc;

use halfbyte_core::problem::is_grpc;
use http::{HeaderMap, Method, StatusCode, Version};
use opentelemetry::{KeyValue, StringValue};

use super::Outbound;
use super::exchange::Ending;
use super::layer::Instruments;
use super::target::Target;
use crate::conventions::{HttpVersion, METHODS, OTHER, clipped};
use crate::grpc::Code;

/// The template that the path of a request was made from, such as `/labels/{id}`: put it into the request's extensions,
/// and the span is called by it. There must be few of them, so it must not be the path itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(Arc<str>);

impl UrlTemplate {
    /// The template of a path.
    pub fn new(template: impl Into<Arc<str>>) -> Self {
        Self(template.into())
    }
}

/// How often this request was sent before, for whatever reason: put it into the extensions of a request that is sent
/// once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResendCount(pub u32);

/// What the span and the measurement both say.
#[derive(Debug)]
pub(super) struct Call {
    protocol: Protocol,
    address: Option<Arc<str>>,
    port: Option<u16>,
    version: Option<&'static str>,
}

#[derive(Debug)]
enum Protocol {
    Http {
        method: StringValue,
        template: Option<Arc<str>>,
        status: Option<StatusCode>,
    },
    Grpc {
        /// `{package}.{Service}/{Method}`.
        method: Option<Arc<str>>,
        code: Option<&'static str>,
    },
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    code: Option<&'static str>,
    pub(super) error_type: Option<StringValue>,
}

impl Call {
    /// The call, and what is said of it when its span starts.
    pub(super) fn of(request: &impl Outbound, instruments: &Instruments) -> (Self, Vec<KeyValue>) {
        let target = request.target().or(instruments.server.as_ref());
        // The start has up to 7, the end up to 5.
        let mut attributes = Vec::with_capacity(12);
        let protocol = if is_grpc(request.headers()) {
            grpc(&target, &mut attributes)
        } else {
            http(request, &target, instruments, &mut attributes)
        };
        let call = Self { protocol, address: target.address(), port: target.port(), version: None };
        attributes.extend(call.server());
        (call, attributes)
    }

    /// Of low cardinality: never the path.
    pub(super) fn span_name(&self) -> Cow<'static, str> {
        match &self.protocol {
            Protocol::Http { method, template, .. } => {
                let method = if method.as_str() == OTHER { "HTTP" } else { method.as_str() };
                match template {
                    Some(template) => format!("{method} {template}").into(),
                    None => method.to_owned().into(),
                }
            }
            Protocol::Grpc { method: Some(method), .. } => method.to_string().into(),
            Protocol::Grpc { method: None, .. } => "grpc".into(),
        }
    }

    pub(super) fn is_grpc(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc { .. })
    }

    /// Whether the outcome is still to come when all of the data is there.
    pub(super) fn awaits_trailers(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc { code: None, .. })
    }

    pub(super) fn answered(&mut self, answered: StatusCode, version: Version, headers: &HeaderMap) {
        match &mut self.protocol {
            Protocol::Http { method, status, .. } => {
                *status = Some(answered);
                // A tunnel goes on as something else.
                if method.as_str() != "CONNECT" || !answered.is_success() {
                    self.version = HttpVersion::of(version).as_str();
                }
            }
            // A call that fails at once has its status in the headers.
            Protocol::Grpc { code, .. } => {
                // One of 200 has its status behind its body.
                let implied = (answered != StatusCode::OK).then(|| Code::of_http(answered));
                *code = Code::of(headers).or(implied).map(Code::name);
            }
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Protocol::Grpc { code, .. } = &mut self.protocol {
            *code = Code::of(trailers).map(Code::name).or(*code);
        }
    }

    pub(super) fn outcome(&self, ending: Ending) -> Outcome {
        let failure = || -> Option<&'static str> {
            match ending {
                Ending::Complete | Ending::Unread => None,
                Ending::Cancelled => Some("cancelled"),
                Ending::Failed(failure) => Some(failure.error_type),
                Ending::Panicked => Some("panic"),
            }
        };
        match &self.protocol {
            Protocol::Http { status: Some(status), .. } if status.as_u16() >= 400 => {
                Outcome { code: None, error_type: Some(status.as_str().to_owned().into()) }
            }
            Protocol::Http { .. } => Outcome { code: None, error_type: failure().map(Into::into) },
            Protocol::Grpc { code, .. } => {
                // A client makes up the status that it was not told.
                let code = code.or_else(|| match ending {
                    Ending::Complete => Some("UNKNOWN"),
                    Ending::Unread | Ending::Cancelled => Some("CANCELLED"),
                    Ending::Failed(failure) => failure.grpc_code.map(|code| Code::numbered(code).name()),
                    Ending::Panicked => None,
                });
                let error_type = match code {
                    Some("OK") => None,
                    Some(code) => Some(code),
                    None => failure(),
                };
                Outcome { code, error_type: error_type.map(Into::into) }
            }
        }
    }

    /// What is said of it when its span ends.
    pub(super) fn at_end(&self, outcome: Outcome, mut say: impl FnMut(KeyValue)) {
        let answer = self.answer(&outcome);
        let error_type = outcome.error_type.map(|error| KeyValue::new("error.type", error));
        answer.into_iter().flatten().chain(error_type).for_each(&mut say);
    }

    /// Gives `record` the attributes of the duration, without allocating a list of them.
    pub(super) fn with_metric(&self, outcome: &Outcome, record: impl FnOnce(&[KeyValue])) {
        let mut list: [KeyValue; 7] = std::array::from_fn(|_| KeyValue::new("", false));
        let of_protocol = match &self.protocol {
            Protocol::Http { method, template, .. } => [
                Some(KeyValue::new("http.request.method", method.clone())),
                template.clone().map(|template| KeyValue::new("url.template", template)),
            ],
            Protocol::Grpc { method, .. } => {
                [Some(KeyValue::new("rpc.system.name", "grpc")), Some(rpc_method(method.as_ref()))]
            }
        };
        let error_type = outcome.error_type.clone().map(|error| KeyValue::new("error.type", error));
        let attributes = of_protocol.into_iter().flatten().chain(self.server());
        let mut filled = 0;
        for (slot, attribute) in
            list.iter_mut().zip(attributes.chain(self.answer(outcome).into_iter().flatten()).chain(error_type))
        {
            *slot = attribute;
            filled += 1;
        }
        record(&list[..filled]);
    }

    fn server(&self) -> impl Iterator<Item = KeyValue> + use<> {
        let address = self.address.clone().map(|address| KeyValue::new("server.address", address));
        let port = self.port.map(|port| KeyValue::new("server.port", i64::from(port)));
        address.into_iter().chain(port)
    }

    fn answer(&self, outcome: &Outcome) -> [Option<KeyValue>; 2] {
        match &self.protocol {
            Protocol::Http { status, .. } => [
                status.map(|status| KeyValue::new("http.response.status_code", i64::from(status.as_u16()))),
                self.version.map(|version| KeyValue::new("network.protocol.version", version)),
            ],
            Protocol::Grpc { .. } => [outcome.code.map(|code| KeyValue::new("rpc.response.status_code", code)), None],
        }
    }
}

fn http(
    request: &impl Outbound,
    target: &Target<'_>,
    instruments: &Instruments,
    attributes: &mut Vec<KeyValue>,
) -> Protocol {
    let method = known(request.method(), instruments.methods.as_deref());
    attributes.push(KeyValue::new("http.request.method", method.clone().unwrap_or(OTHER.into())));
    if method.is_none() {
        attributes.push(KeyValue::new("http.request.method_original", clipped(request.method().as_str()).to_owned()));
    }
    attributes.push(KeyValue::new("url.full", target.full()));
    let extensions = request.extensions();
    let template = extensions.and_then(|extensions| extensions.get()).map(|UrlTemplate(template)| template.clone());
    attributes.extend(template.clone().map(|template| KeyValue::new("url.template", template)));
    if let Some(ResendCount(count @ 1..)) = extensions.and_then(|extensions| extensions.get()) {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(*count)));
    }
    Protocol::Http { method: method.unwrap_or(OTHER.into()), template, status: None }
}

fn grpc(target: &Target<'_>, attributes: &mut Vec<KeyValue>) -> Protocol {
    let is_name = |part: &str| !part.is_empty() && !part.contains('/');
    let path = target.path().strip_prefix('/').unwrap_or_default();
    let named = path.split_once('/').is_some_and(|(service, method)| is_name(service) && is_name(method));
    let method = named.then(|| Arc::from(path));
    attributes.push(KeyValue::new("rpc.system.name", "grpc"));
    attributes.push(rpc_method(method.as_ref()));
    if method.is_none() {
        attributes.push(KeyValue::new("rpc.method_original", clipped(path).to_owned()));
    }
    Protocol::Grpc { method, code: None }
}

fn rpc_method(method: Option<&Arc<str>>) -> KeyValue {
    match method {
        Some(method) => KeyValue::new("rpc.method", method.clone()),
        None => KeyValue::new("rpc.method", OTHER),
    }
}

/// Any other method could be one of many.
fn known(method: &Method, methods: Option<&[Arc<str>]>) -> Option<StringValue> {
    match methods {
        Some(methods) => methods.iter().find(|known| ***known == *method.as_str()).cloned().map(Into::into),
        None => METHODS.into_iter().find(|known| *known == method.as_str()).map(Into::into),
    }
}
