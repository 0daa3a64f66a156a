//! One exchange with the server.

use std::time::Duration;

use halfbyte_core::client::{self, Client, Limits, Response};
use http::{HeaderName, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;

use super::Settings;
use crate::provider::read;
use crate::{Error, ErrorKind};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Says that no browser was tricked into asking; an agent in between may require it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The largest file of certificates, in bytes.
const LARGEST_CA: usize = 1 << 20;

/// How long to wait after a 412 before the same is asked again: replication takes that long, or longer and is no lag.
const LAG: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// Where the server is and how to talk to it.
pub(super) struct Wire {
    client: Client,
    address: Url,
    namespace: Option<String>,
}

/// What is asked. Its path is in errors and spans.
pub(super) struct Call<'a, B = ()> {
    method: Method,
    path: Vec<&'a str>,
    version: Option<u64>,
    body: Option<&'a B>,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self { method: Method::GET, path: path.into_iter().collect(), version: None, body: None }
    }

    /// That version of a key-value secret, not the newest.
    pub(super) fn version(mut self, version: Option<u64>) -> Self {
        self.version = version;
        self
    }
}

impl<'a, B: Serialize> Call<'a, B> {
    pub(super) fn post(path: &'a str, body: &'a B) -> Self {
        Self { method: Method::POST, path: path.split('/').collect(), version: None, body: Some(body) }
    }

    pub(super) fn path(&self) -> String {
        self.path.join("/")
    }

    /// In words for errors.
    pub(super) fn shown(&self) -> String {
        let path = self.path();
        if self.method == Method::GET { format!("reading {path}") } else { format!("the request to {path}") }
    }
}

impl Wire {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        // Asking again is for who reads; and a dynamic credential that is asked for again is another one.
        let limits = Limits { timeout: Duration::from_secs(8), attempts: 1, ..Limits::default() };
        let client = match &settings.ca_file {
            Some(file) => {
                let pem = read(file, LARGEST_CA)?.bytes;
                Client::trusting(&pem, limits).map_err(|error| {
                    let what = format!("{} holds no certificate that can be used", file.display());
                    Error::new(ErrorKind::Malformed, what).with_source(error)
                })?
            }
            None => Client::with_limits(limits).map_err(unreachable)?,
        };
        Ok(Self { client, address: settings.address.clone(), namespace: settings.namespace.clone() })
    }

    /// Asks, a few times if the server is a little behind another one. Any status is an answer.
    pub(super) async fn send<B: Serialize>(
        &self,
        call: &Call<'_, B>,
        token: Option<&SecretString>,
    ) -> Result<Response, Error> {
        let mut lag = LAG.into_iter();
        loop {
            let response = self.exchange(call, token).await.map_err(unreachable)?;
            match lag.next() {
                Some(wait) if response.status() == 412 => {
                    tokio::time::sleep(wait.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
                }
                _ => return Ok(response),
            }
        }
    }

    async fn exchange<B: Serialize>(
        &self,
        call: &Call<'_, B>,
        token: Option<&SecretString>,
    ) -> Result<Response, client::Error> {
        let mut url = self.address.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v1").extend(&call.path);
        }
        if let Some(version) = call.version {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        let mut request = self.client.request(call.method.clone(), url).header(REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        if let Some(token) = token {
            request = request.sensitive(TOKEN, token.expose_secret());
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        request.send().await
    }
}

fn unreachable(error: client::Error) -> Error {
    let (kind, what) = match error.kind() {
        client::ErrorKind::Connect => (
            ErrorKind::Unavailable,
            "OpenBao cannot be reached; is it up, is the address right, is its certificate trusted?",
        ),
        client::ErrorKind::Timeout => (ErrorKind::Unavailable, "OpenBao did not answer in time"),
        client::ErrorKind::TooLarge => (ErrorKind::Malformed, "what OpenBao answered is too large for a secret"),
        client::ErrorKind::Request => {
            (ErrorKind::Malformed, "the request cannot be sent: token or namespace holds what no header can")
        }
        _ => (ErrorKind::Unavailable, "the exchange with OpenBao failed"),
    };
    Error::new(kind, what).with_source(error)
}
