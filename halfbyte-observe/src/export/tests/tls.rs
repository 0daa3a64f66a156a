//! TLS with an authority of one's own and a certificate of the client: the receiver behind somebody who ends TLS.
//!
//! The certificates in `pem` are of nobody and for nobody, and good for a hundred years.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs};

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/tests/pem");

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(format!("{FOLDER}/{name}.pem")).unwrap()
}

/// Ends TLS in front of `to`, for clients of our authority only.
async fn in_front_of(to: SocketAddr, alpn: &str) -> (SocketAddr, JoinSet<()>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate("authority")).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/server-key.pem")).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate("server")], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
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
    (address, tasks)
}

#[tokio::test]
async fn a_collector_of_an_authority_of_ones_own_gets_all_and_only_from_clients_with_a_certificate() {
    let files = ["authority", "client-key", "client"].map(|name| format!("{FOLDER}/{name}.pem"));
    for (protocol, alpn) in PROTOCOLS.into_iter().zip(["http/1.1", "h2"]) {
        let receiver = Receiver::start().await.unwrap();
        let (address, _server) = in_front_of(receiver.address(), alpn).await;
        let endpoint = format!("https://{address}");
        let (authority, client) = (
            [("OTEL_EXPORTER_OTLP_CERTIFICATE", files[0].as_str())],
            [
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", files[1].as_str()),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", files[2].as_str()),
            ],
        );
        let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        for (variables, arrives) in [
            ([&to[..], &authority, &client].concat(), true),
            ([&to[..], &authority].concat(), false),
            ([&to[..], &client].concat(), false),
        ] {
            receiver.clear();
            let product = Product::of_traces(&receiver, &variables, None);
            product.spans(1);
            let budget = if arrives { LONG } else { Duration::from_secs(2) };
            let flushed = product.telemetry.shutdown(budget).await;
            assert_eq!(
                (flushed.is_complete(), receiver.spans().len() == 1),
                (arrives, arrives),
                "{protocol}: {flushed}"
            );
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_with_the_name_of_their_variable() {
    let cannot_be_read = "/nonexistent.pem cannot be read";
    let no_pem = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for protocol in PROTOCOLS {
        for (file, says) in [("/nonexistent.pem", cannot_be_read), (no_pem, "must be certificates")] {
            let variables = [
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://127.0.0.1:1"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", file),
            ];
            let plan = Plan::read(&Config::parse(variables).unwrap().other).unwrap();
            let error =
                Providers::build(&plan, &Resource::builder_empty().build(), &Chain::default(), None).expect_err(file);
            let shown = error.to_string();
            assert!(
                error.is_configuration() && shown.starts_with("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: "),
                "{shown}"
            );
            assert!(shown.contains(says), "{protocol}: {shown}");
        }
    }
}
