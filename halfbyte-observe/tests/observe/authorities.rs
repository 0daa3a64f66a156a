//! A collector behind TLS is believed if one of the machine's authorities has signed it, over either protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use halfbyte_observe::testing::Receiver;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::child::{assert_success, play};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/tests/pem");

/// Both protocols, and what TLS calls them.
const PROTOCOLS: [(&str, &str); 2] = [("http/protobuf", "http/1.1"), ("grpc", "h2")];

/// A file that is readable and has no certificate in it.
const NONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Ends TLS in front of `to`, with a certificate of our authority.
async fn in_front_of(to: SocketAddr, alpn: &str) -> (String, JoinSet<()>) {
    let chain = vec![CertificateDer::from_pem_file(format!("{FOLDER}/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/server-key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (endpoint, tasks)
}

#[tokio::test]
async fn a_collector_that_an_authority_of_the_machine_has_signed_gets_all_three_signals() {
    for (protocol, alpn) in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        let (endpoint, _server) = in_front_of(receiver.address(), alpn).await;
        let output = play(
            "serve",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("SSL_CERT_FILE", &format!("{FOLDER}/authority.pem")),
            ],
        )
        .await;
        assert_success(&output);
        let received = (receiver.spans().len(), receiver.logs().is_empty(), receiver.metrics().is_empty());
        assert_eq!(received, (2, false, false), "{protocol}");
    }
}

#[tokio::test]
async fn a_collector_that_none_of_them_has_signed_gets_nothing_and_that_is_said() {
    for (protocol, alpn) in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        let (endpoint, _server) = in_front_of(receiver.address(), alpn).await;
        let output = play(
            "shutdown",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                // A certificate, but not that of whoever has signed.
                ("SSL_CERT_FILE", &format!("{FOLDER}/client.pem")),
                ("OBSERVE_BUDGET_MS", "5000"),
            ],
        )
        .await;
        assert_success(&output);
        let said = String::from_utf8_lossy(&output.stdout);
        for signal in ["traces", "metrics", "logs"] {
            let line = said.lines().find(|line| line.starts_with(&format!("FAILED {signal}: "))).expect(signal);
            assert!(line.contains("UnknownIssuer"), "{protocol}: {line}");
        }
        assert!(receiver.requests().is_empty(), "{protocol}");
    }
}

#[tokio::test]
async fn a_machine_that_trusts_no_authority_is_told_what_to_do() {
    for (protocol, _) in PROTOCOLS {
        let output = play(
            "unfit",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("SSL_CERT_FILE", NONE),
            ],
        )
        .await;
        assert_success(&output);
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.starts_with("UNFIT ")).expect("an error");
        assert!(line.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{protocol}: {line}");
    }
}

#[tokio::test]
async fn without_tls_nobody_has_to_be_trusted() {
    for (protocol, _) in PROTOCOLS {
        let receiver = Receiver::start().await.unwrap();
        let endpoint = receiver.endpoint();
        let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        assert_success(&play("serve", &[&to[..], &[("SSL_CERT_FILE", NONE)]].concat()).await);
        assert_eq!(receiver.spans().len(), 2, "{protocol}");
    }
}
