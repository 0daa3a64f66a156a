//! The token layer in front of a tonic channel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_identity::outbound::TokenLayer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tower::Layer as _;

use super::scripted::{Scripted, bearer};

#[tokio::test]
async fn a_tonic_client_sends_the_token_and_a_refused_one_is_renewed_for_the_next_call() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let memory = seen.clone();
    let interceptor = move |request: Request<()>| {
        let header = request.metadata().get("authorization").expect("authorized").to_str().expect("text").to_owned();
        let is_old = header == "Bearer t-0";
        memory.lock().expect("not poisoned").push(header);
        if is_old { Err(Status::unauthenticated("an old one")) } else { Ok(request) }
    };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let _: &HealthServer<_> = &health;
    let service = tonic::service::interceptor::InterceptedService::new(health, interceptor);
    let mut server = JoinSet::new();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    server.spawn(async move { Server::builder().add_service(service).serve_with_incoming(incoming).await });

    let tokens = issuer.client().tokens("clinic", &[]);
    tokens.token().await.expect("granted");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let origin: http::Uri = format!("http://{host}").parse().expect("a URI");
    let channel = Channel::builder(origin.clone()).connect().await.expect("connected");
    let layer = TokenLayer::new(tokens, [&host]).expect("hosts");
    let mut client = HealthClient::with_origin(layer.layer(channel), origin);
    let refused = client.check(HealthCheckRequest::default()).await.expect_err("an old token");
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "an old one"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.check(HealthCheckRequest::default()).await.expect("a new token");
    assert_eq!(*seen.lock().expect("not poisoned"), ["Bearer t-0", "Bearer t-1"]);
}
