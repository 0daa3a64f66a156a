//! TLS on the public listener, with a certificate that its operators replace while it serves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use halfbyte::core::lifecycle::Phase;
use halfbyte::secrets::{KeyPair, Secret};
use halfbyte::{Error, Platform};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};

use crate::start;

const AUTHORITY: &str = include_str!("pem/authority.pem");
const FIRST: &str = include_str!("pem/first.pem");
const SECOND: &str = include_str!("pem/second.pem");

struct Product {
    platform: Platform,
    certificate: Secret<KeyPair>,
    serving: JoinSet<Result<(), Error>>,
    folder: TempDir,
}

impl Product {
    /// With `secret` as the certificate, if there is one yet.
    async fn start(secret: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(secret) = secret {
            store(folder.path(), secret);
        }
        let secrets = format!("file://{}", folder.path().join("secrets").display());
        std::fs::create_dir_all(folder.path().join("secrets")).unwrap();
        let variables = [("HALFBYTE_SECRETS_URL", secrets.as_str()), ("HALFBYTE_TLS_SECRET", "tls-certificate")];
        let platform = start::start_with(folder.path(), "[products.parcel]", &variables).await.unwrap();
        let certificate = platform.secrets().get::<KeyPair>("tls-certificate");
        let mut serving = JoinSet::new();
        serving.spawn(platform.clone().serve(Router::new().route("/", get("hello"))));
        platform.lifecycle().reached(Phase::Ready).await;
        Self { platform, certificate, serving, folder }
    }

    /// Replaces the certificate, and waits until that is noticed.
    async fn replace(&self, secret: &str) {
        let seen = self.certificate.generation();
        store(self.folder.path(), secret);
        let noticed = async {
            while self.certificate.generation() == seen {
                let _it_may_be_left_alone_for_a_moment = self.certificate.refresh(seen).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), noticed).await.expect("it is not noticed");
    }

    async fn connect(&self, client: Client) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.platform.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(client.config()).connect(name, stream).await
    }

    async fn ready(&self) -> (u16, Value) {
        let answer = reqwest::get(format!("http://{}/readyz", self.platform.admin_address())).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

fn store(folder: &Path, secret: &str) {
    std::fs::create_dir_all(folder.join("secrets")).unwrap();
    let next = folder.join("next");
    std::fs::write(&next, secret).unwrap();
    std::fs::rename(next, folder.join("secrets/tls-certificate")).unwrap();
}

/// What a client offers.
#[derive(Clone, Copy)]
struct Client {
    version: &'static SupportedProtocolVersion,
    alpn: &'static [&'static str],
}

const ANY: Client = Client { version: &TLS13, alpn: &[] };

impl Client {
    fn config(self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_protocol_versions(&[self.version]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Whether the other end has the certificate that stands in `pem`.
fn shows(stream: &TlsStream<TcpStream>, pem: &str) -> bool {
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    shown[0] == CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"hello") {
        if stream.read(&mut byte).await? == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn both_protocols_and_both_versions_are_spoken_on_one_listener() {
    let product = Product::start(Some(FIRST)).await;
    assert_eq!(product.platform.public_url().scheme(), "https");
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for alpn in [&[][..], &["http/1.1"]] {
            let mut stream = product.connect(Client { version, alpn }).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
            let answer = ask(&mut stream).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let stream = product.connect(Client { version, alpn: &["h2", "http/1.1"] }).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = http::Request::get("https://localhost/").body(()).unwrap();
        let (answer, _body): (_, h2::SendStream<Bytes>) = requests.send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    let refused = product.connect(Client { version: &TLS13, alpn: &["spdy/1"] }).await;
    assert!(refused.is_err(), "a protocol that is not spoken is agreed on");
}

#[tokio::test]
async fn plain_http_is_closed_without_an_answer() {
    let product = Product::start(Some(FIRST)).await;
    let mut plain = TcpStream::connect(product.platform.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_let_go() {
    let product = Product::start(Some(FIRST)).await;
    let mut ended = JoinSet::new();
    // Nothing; the beginning of a handshake; and one that is over, but for what is to be said by it.
    for alpn in [&[][..], &["h2"]] {
        let mut silent = product.connect(Client { version: &TLS13, alpn }).await.unwrap();
        ended.spawn(async move { drop(silent.read_to_end(&mut Vec::new()).await) });
    }
    for said in [&b""[..], &[0x16, 3, 1, 2]] {
        let mut silent = TcpStream::connect(product.platform.address()).await.unwrap();
        silent.write_all(said).await.unwrap();
        ended.spawn(async move { drop(silent.read_to_end(&mut Vec::new()).await) });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), ended.join_all()).await;
    assert!(all.is_ok(), "a client that says nothing keeps its connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_without_a_failed_request() {
    let product = Arc::new(Product::start(Some(FIRST)).await);
    let mut old = product.connect(ANY).await.unwrap();
    assert!(shows(&old, FIRST) && ask(&mut old).await.is_ok());
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (product, stop) = (product.clone(), stop.clone());
        load.spawn(async move {
            let (mut first, mut second) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let mut stream = product.connect(ANY).await.unwrap();
                assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
                *if shows(&stream, FIRST) { &mut first } else { &mut second } += 1;
            }
            (first, second)
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    product.replace(SECOND).await;
    assert!(shows(&product.connect(ANY).await.unwrap(), SECOND), "a new connection has the old certificate");
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    for (first, second) in load.join_all().await {
        assert!(first > 0 && second > 0, "{first} with the first one, {second} with the second");
    }
    assert!(ask(&mut old).await.unwrap().starts_with("HTTP/1.1 200 "), "an old connection does not go on");
}

#[tokio::test]
async fn without_a_certificate_it_is_not_ready_and_says_why_and_serves_once_it_has_one() {
    let key_alone = FIRST.split_inclusive("-----END PRIVATE KEY-----\n").next().unwrap();
    for (secret, said) in
        [(None, "tls-certificate"), (Some(key_alone), "no certificate"), (Some("nothing"), "private key")]
    {
        let product = Product::start(secret).await;
        let (status, report) = product.ready().await;
        let tls = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "tls").unwrap().clone();
        assert_eq!((status, &tls["ready"]), (503, &Value::Bool(false)), "{report}");
        assert!(tls["detail"].as_str().unwrap().contains(said), "{tls}");
        assert!(!report.to_string().contains("PRIVATE KEY"));
        assert!(product.connect(ANY).await.is_err());
        product.replace(FIRST).await;
        assert!(shows(&product.connect(ANY).await.unwrap(), FIRST));
        assert_eq!(product.ready().await.0, 200);
    }
}

#[tokio::test]
async fn one_that_cannot_be_used_changes_nothing_but_is_shown() {
    let key_alone = SECOND.split_inclusive("-----END PRIVATE KEY-----\n").next().unwrap();
    let product = Product::start(Some(FIRST)).await;
    product.replace(key_alone).await;
    assert!(shows(&product.connect(ANY).await.unwrap(), FIRST));
    let (status, report) = product.ready().await;
    let tls = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "tls").unwrap();
    assert_eq!((status, &tls["state"]), (200, &Value::from("behind")));
    assert!(tls["detail"].as_str().unwrap().contains("no certificate"), "{tls}");
}

#[tokio::test]
async fn a_drain_ends_connections_of_tls_as_others() {
    let mut product = Product::start(Some(FIRST)).await;
    let mut idle = product.connect(ANY).await.unwrap();
    ask(&mut idle).await.unwrap();
    // Two that have not got further than this.
    let _silent = TcpStream::connect(product.platform.address()).await.unwrap();
    let _shaken = product.connect(ANY).await.unwrap();
    product.platform.lifecycle().enter(Phase::LameDuck);
    let ended = tokio::time::timeout(Duration::from_secs(20), product.serving.join_next()).await;
    assert!(ended.expect("the drain waits for clients that say nothing").unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = start::start_with(folder.path(), "[products.parcel]", &[("HALFBYTE_TLS_SECRET", "../key")]).await;
    let error = refused.map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(format!("{error:?}").contains("HALFBYTE_TLS_SECRET"), "{error:?}");
}
