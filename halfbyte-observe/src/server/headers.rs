//! Headers that a product wants on its spans.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use opentelemetry::{Array, Key, KeyValue, StringValue, Value};

use crate::Redaction;
use crate::conventions::clipped;

/// A header with a name like that carries a credential.
const NEVER: [&str; 9] =
    ["authorization", "authenticate", "cookie", "token", "secret", "password", "api-key", "apikey", "signature"];

/// How many values of one header are said.
const MOST: usize = 16;

/// The headers that were asked for, but those that carry credentials; and what is removed from the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed(Vec<Header>, Redaction);

#[derive(Clone, Debug)]
struct Header {
    name: HeaderName,
    http: Key,
    rpc: Key,
}

impl Allowed {
    /// `side` is `request` or `response`.
    pub(super) fn new(names: impl IntoIterator<Item = HeaderName>, side: &str, redaction: &Redaction) -> Self {
        let harmless = |name: &HeaderName| {
            !NEVER.iter().any(|part| name.as_str().contains(part)) && !redaction.names_a_secret(name.as_str())
        };
        let key = |text: String| Key::from(Arc::<str>::from(text));
        Self(
            names
                .into_iter()
                .filter(harmless)
                .map(|name| Header {
                    http: key(format!("http.{side}.header.{name}")),
                    rpc: key(format!("rpc.{side}.metadata.{name}")),
                    name,
                })
                .collect(),
            redaction.clone(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The attributes, of a gRPC call or of a plain request.
    pub(super) fn of<'a>(&'a self, headers: &'a HeaderMap, rpc: bool) -> impl Iterator<Item = KeyValue> + 'a {
        self.0.iter().filter_map(move |header| {
            let values: Vec<StringValue> = headers
                .get_all(&header.name)
                .iter()
                .filter(|value| !value.is_sensitive())
                .filter_map(|value| Some(StringValue::from(self.1.text(clipped(value.to_str().ok()?)).into_owned())))
                .take(MOST)
                .collect();
            let key = if rpc { &header.rpc } else { &header.http };
            (!values.is_empty()).then(|| KeyValue::new(key.clone(), Value::Array(Array::String(values))))
        })
    }
}
