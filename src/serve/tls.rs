use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use halfbyte_core::config::Config;
use halfbyte_core::error_chain;
use halfbyte_core::lifecycle::{Check, Health};
use halfbyte_secrets::{ErrorKind as SecretErrorKind, ExposeSecret as _, KeyPair, Secret, Secrets};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::error::{Error, ErrorKind};

/// The name of readiness.
const CHECK: &str = "tls";

/// TLS on the public listener, with the certificate that its secret has at each handshake.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// If the configuration names a secret for it. Readiness shows it from now on.
    pub(crate) fn configured(config: &Config, secrets: &Secrets, health: &Health) -> Result<Option<Self>, Error> {
        let Some(name) = &config.tls_secret else { return Ok(None) };
        let unusable = |source: halfbyte_core::BoxError| {
            Error::new(ErrorKind::Configuration, "HALFBYTE_TLS_SECRET cannot be used").caused_by(source)
        };
        secrets.declare(name).map_err(|error| unusable(error.into()))?;
        let certificates = Arc::new(Certificates { secret: secrets.get(name), made: ArcSwapOption::empty() });
        let for_health = certificates.clone();
        health.register(move || Some(for_health.check()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let server = server.with_safe_default_protocol_versions().map_err(|error| unusable(error.into()))?;
        let mut server = server.with_no_client_auth().with_cert_resolver(certificates);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A session that goes on would not look at the certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Some(Self(TlsAcceptor::from(Arc::new(server)))))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// What the secret holds, as rustls takes it.
#[derive(Debug)]
struct Certificates {
    secret: Secret<KeyPair>,
    made: ArcSwapOption<Made>,
}

#[derive(Debug)]
struct Made {
    generation: u64,
    /// Of this generation, or of the last one that had a usable one.
    key: Option<Arc<CertifiedKey>>,
    fault: Option<String>,
}

impl Certificates {
    /// Without a lock; what was made of the secret is made again only when that has changed.
    fn current(&self) -> Result<Arc<Made>, halfbyte_secrets::Error> {
        let pair = self.secret.load()?;
        let before = self.made.load();
        match &*before {
            Some(made) if made.generation == pair.generation() => Ok(made.clone()),
            before => {
                let (key, fault) = match certified(pair.expose_secret()) {
                    Ok(key) => (Some(Arc::new(key)), None),
                    Err(fault) => {
                        tracing::error!(
                            name = self.secret.name(),
                            fault,
                            "a certificate cannot be used, and that of before is kept"
                        );
                        (before.as_ref().and_then(|before| before.key.clone()), Some(fault))
                    }
                };
                let made = Arc::new(Made { generation: pair.generation(), key, fault });
                self.made.store(Some(made.clone()));
                Ok(made)
            }
        }
    }

    fn check(&self) -> Check {
        let (ready, state, detail) = match self.current() {
            Ok(made) => match (&made.key, &made.fault) {
                (Some(_), None) => (true, "fresh", None),
                (Some(_), Some(fault)) => (true, "behind", Some(fault.clone())),
                (None, fault) => (false, "failing", Some(fault.clone().unwrap_or_default())),
            },
            Err(error) if error.kind() == SecretErrorKind::Pending => (false, "cold", None),
            Err(error) => (false, "failing", Some(error_chain(&error).to_string())),
        };
        Check { name: CHECK.into(), ready, state, age: None, detail }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().ok()?.key.clone()
    }
}

fn certified(pair: &KeyPair) -> Result<CertifiedKey, String> {
    if pair.chain().is_empty() {
        return Err("the secret has a private key and no certificate: store both, one after the other".to_owned());
    }
    let key = aws_lc_rs::sign::any_supported_type(&pair.private_key())
        .map_err(|error: rustls::Error| format!("the private key is none that TLS takes: {error}"))?;
    Ok(CertifiedKey::new(pair.chain().to_vec(), key))
}
