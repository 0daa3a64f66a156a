use std::{fmt, io};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;

use super::{Client, Error, ErrorKind, Response};

/// A request to be sent by a [`Client`].
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) repeatable: bool,
    /// The first part that could not be built; [`send`](Self::send) answers it.
    fault: Option<Error>,
}

impl Request {
    pub(super) fn new(client: Client, method: Method, url: Url) -> Self {
        let repeatable = method.is_idempotent();
        Self { client, method, url, headers: HeaderMap::new(), body: Bytes::new(), repeatable, fault: None }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Authenticates with a bearer token; it is marked sensitive.
    pub fn bearer(self, token: &SecretString) -> Self {
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        self.sensitive(AUTHORIZATION, &bearer)
    }

    /// Adds a header whose value is a secret: it is marked sensitive.
    pub fn sensitive(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(name, value);
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Adds headers as they are: for a request that somebody else built and signed. They are marked sensitive, since they may
    /// hold a credential.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        for (name, mut value) in headers.iter().map(|(name, value)| (name, value.clone())) {
            value.set_sensitive(true);
            self.headers.append(name, value);
        }
        self
    }

    /// Sends `body` as it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends `body` as JSON, which is overwritten with zeros afterwards: it may hold a credential.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match json(body) {
            Ok(json) => {
                self.body = Bytes::from_owner(json);
                self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sends `fields` as a form.
    pub fn form<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into();
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self
    }

    /// Says that the request may be repeated although its method does not: it carries an idempotency key, or does nothing
    /// but ask.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Sends the request and reads the whole response. A response with an error status is a response:
    /// see [`Response::success`]. Dropping the future abandons the call.
    ///
    /// # Errors
    ///
    /// No response was had, or its body was too large; see [`ErrorKind`].
    pub async fn send(mut self) -> Result<Response, Error> {
        match self.fault.take() {
            Some(error) => Err(error),
            None => self.client.clone().send(self).await,
        }
    }

    fn fail(&mut self, error: impl std::error::Error + Send + Sync + 'static) {
        let fault = Error::new(ErrorKind::Request, Some(&self.url), error);
        self.fault.get_or_insert(fault);
    }
}

/// Written in one piece: a buffer that grows leaves what it held behind.
fn json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, body)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, body)?;
    Ok(json)
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows method and address, never a header or a body.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, super::error::shown(&self.url))
    }
}
