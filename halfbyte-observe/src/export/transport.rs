//! Takes one request to the collector, once.

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::error_chain;

use super::answer::Answer;
use super::destination::{Destination, Protocol, Tls};
#[cfg(feature = "grpc")]
use super::grpc::Grpc;
use super::http::Http;
use crate::{Error, Signal};

pub(super) const USER_AGENT: &str = concat!("halfbyte-observe/", env!("CARGO_PKG_VERSION"));

/// How often a connection that something is under way on is asked whether the other end is there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How one signal is sent.
#[derive(Debug)]
pub(super) struct Transport {
    by: By,
    timeout: Duration,
    /// Whether there was no answer in time since the last request.
    hung: Arc<AtomicBool>,
}

#[derive(Debug)]
enum By {
    Http(Box<Http>),
    #[cfg(feature = "grpc")]
    Grpc(Box<Grpc>),
}

/// What is read of the files that [`Tls`] names.
pub(super) struct Pem {
    pub(super) authorities: Option<Vec<u8>>,
    /// The key and the certificate.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Transport {
    /// Reads the files that there are for TLS.
    pub(super) fn new(signal: Signal, to: &Destination) -> Result<Self, Error> {
        let pem = pem(&to.tls)?;
        let by = match to.protocol {
            Protocol::Http => By::Http(Box::new(Http::new(signal, to, pem)?)),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => By::Grpc(Box::new(Grpc::new(signal, to, pem)?)),
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => return Err(Error::configuration("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc is not built in")),
        };
        Ok(Self { by, timeout: to.timeout, hung: Arc::default() })
    }

    /// Sends one encoded request. Within a Tokio runtime.
    pub(super) fn send(&mut self, payload: Bytes) -> Sending {
        let (timeout, hung) = (self.timeout, self.hung.clone());
        match &mut self.by {
            By::Http(http) => Box::pin(within(timeout, hung, http.send(payload))),
            #[cfg(feature = "grpc")]
            By::Grpc(grpc) => {
                if hung.swap(false, Ordering::Relaxed) {
                    grpc.reset();
                }
                Box::pin(within(timeout, hung, grpc.send(payload)))
            }
        }
    }
}

async fn within(timeout: Duration, hung: Arc<AtomicBool>, sending: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(timeout, sending).await.unwrap_or_else(|_| {
        hung.store(true, Ordering::Relaxed);
        Answer::none(format!("no answer within {timeout:?}"))
    })
}

/// A request under way. Dropping it abandons it.
pub(super) type Sending = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn pem(tls: &Tls) -> Result<Pem, Error> {
    let read = |(variable, path): &(String, std::path::PathBuf)| {
        fs::read(path).map_err(|error| {
            let (path, why) = (path.display(), error_chain(&error));
            Error::configuration(variable, format_args!("{path} cannot be read: {why}; it must be a file in PEM"))
        })
    };
    let authorities = tls.certificate.as_ref().map(read).transpose()?;
    let client = tls.client.as_ref().map(|(key, certificate)| Ok((read(key)?, read(certificate)?))).transpose()?;
    // Parsers take a file without any for a list of none.
    let certificates = client.iter().map(|(_, certificate)| certificate).chain(&authorities);
    let has = |file: &[u8], what: &[u8]| file.windows(what.len()).any(|part| part == what);
    let usable = certificates.into_iter().all(|file| has(file, b"-----BEGIN CERTIFICATE-----"))
        && client.iter().all(|(key, _)| has(key, b"PRIVATE KEY-----"));
    if usable { Ok(Pem { authorities, client }) } else { Err(unusable(tls)) }
}

/// The error for files that are there and of no use.
pub(super) fn unusable(tls: &Tls) -> Error {
    let certificate = tls.certificate.as_ref().map(|(variable, _)| variable.as_str());
    let key = tls.client.as_ref().map(|((variable, _), _)| variable.as_str());
    let variable = certificate.or(key).unwrap_or("OTEL_EXPORTER_OTLP_CERTIFICATE");
    Error::configuration(variable, "the files for TLS must be certificates and their unencrypted key in PEM")
}
