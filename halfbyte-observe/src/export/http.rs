//! OTLP over HTTP/protobuf.

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use halfbyte_core::{Clock, error_chain};
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Certificate, Client, Identity, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Answer, MOST_BYTES};
use super::destination::Destination;
use super::transport::{KEEP_ALIVE, Pem, USER_AGENT, unusable};
use crate::{Error, Signal};

const NO_CLIENT: &str = "the HTTP client that sends telemetry cannot be made; if this machine trusts no authority, install \
                         its certificates, or set OTEL_EXPORTER_OTLP_CERTIFICATE";

pub(super) struct Http {
    signal: Signal,
    client: Client,
    url: Url,
    headers: HeaderMap,
    gzip: bool,
    /// How long an attempt may take until the rest of an answer is not waited for any more.
    patience: Duration,
    clock: Clock,
}

/// Neither headers nor the address, which may hold a password.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("signal", &self.signal).field("gzip", &self.gzip).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(signal: Signal, to: &Destination, pem: Pem) -> Result<Self, Error> {
        let mut client = Client::builder()
            // What a header allows is for the address that it was given with, and for no other.
            .redirect(reqwest::redirect::Policy::none())
            // Only the variables that are documented say where telemetry goes.
            .no_proxy()
            .user_agent(USER_AGENT)
            .connect_timeout(to.timeout)
            .tcp_keepalive(KEEP_ALIVE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(to.timeout);
        if let Some(authorities) = pem.authorities {
            let authorities = Certificate::from_pem_bundle(&authorities).map_err(|_| unusable(&to.tls))?;
            client = client.tls_certs_only(authorities);
        } else if to.url.scheme() == "http" {
            // Without TLS the machine need not have any, and they are not read.
            client = client.tls_certs_only([]);
        }
        if let Some((key, certificate)) = pem.client {
            let both = [certificate, b"\n".to_vec(), key].concat();
            client = client.identity(Identity::from_pem(&both).map_err(|_| unusable(&to.tls))?);
        }
        let client = client.build().map_err(|error| Error::setup(NO_CLIENT, error.without_url()))?;
        let mut headers = to.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if to.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        // What is over for the attempt as a whole has no answer: the body is given up before that.
        let patience = to.timeout - (to.timeout / 5).min(Duration::from_millis(500));
        let (url, clock) = (to.url.clone(), Clock::system());
        Ok(Self { signal, client, url, headers, gzip: to.gzip, patience, clock })
    }

    pub(super) fn send(&self, payload: Bytes) -> impl Future<Output = Answer> + Send + 'static {
        let body = if self.gzip { compressed(&payload) } else { payload };
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        let (signal, clock, until) = (self.signal, self.clock.clone(), Instant::now() + self.patience);
        async move {
            match request.send().await {
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    // The status has said what became of it, also when the rest is lost or does not end.
                    let body = timeout_at(until, body_of(response)).await.ok().and_then(Result::ok).unwrap_or_default();
                    answer::http(signal, status, &headers, &body, clock.now())
                }
                Err(error) => Answer::none(shown(error)),
            }
        }
    }
}

/// Empty if there is more than anybody has to say.
async fn body_of(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Ok(Bytes::new());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn compressed(payload: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(payload.len() / 4), Compression::fast());
    let written = encoder.write_all(payload).and_then(|()| encoder.finish());
    written.expect("memory takes all that is written").into()
}

/// The cause alone: the address may hold a password.
fn shown(error: reqwest::Error) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => error_chain(cause),
        None => "the request failed".to_owned(),
    }
}
