use std::convert::Infallible;

use halfbyte_core::Principal;
use halfbyte_identity::layers::{AuthenticateLayer, RequireLayer};
use http::Request;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::remote::Issuer;
use crate::support::{Key, Product, claims};

/// A real gRPC server behind the layers; it ends with the set.
async fn serve(authenticate: AuthenticateLayer, require: RequireLayer) -> (Channel, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(ServiceBuilder::new().layer(authenticate).layer(require)).add_service(health);
    let mut tasks = JoinSet::new();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tasks.spawn(async move { server.serve_with_incoming(incoming).await.expect("served") });
    (Channel::from_shared(address).expect("an address").connect().await.expect("connected"), tasks)
}

async fn check(channel: &Channel, authorization: Option<&str>) -> Result<(), Status> {
    let value = authorization.map(|value| value.parse().expect("a header value"));
    let with_token = |mut request: tonic::Request<()>| {
        if let Some(value) = &value {
            request.metadata_mut().insert("authorization", Clone::clone(value));
        }
        Ok(request)
    };
    let mut client = HealthClient::new(InterceptedService::new(channel.clone(), with_token));
    client.check(HealthCheckRequest { service: String::new() }).await.map(drop)
}

#[tokio::test]
async fn refusals_are_grpc_statuses_with_the_challenge_as_metadata() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let identity = &product.identity;
    let (channel, _server) = serve(identity.authenticate(), identity.require(&["labels:read"])).await;

    let status = check(&channel, None).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.metadata().get("www-authenticate").is_some());
    assert_eq!(status.metadata().get("problem-type").expect("there"), "urn:halfbyte:problem:unauthenticated");

    let status = check(&channel, Some("Bearer rubbish")).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "the access token is not valid"));

    let mut claims = claims(issuer.id());
    check(&channel, Some(&format!("Bearer {}", key.token(&claims)))).await.expect("served");
    claims["scope"] = "labels:write".into();
    let status = check(&channel, Some(&format!("Bearer {}", key.token(&claims)))).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);

    issuer.fail_with(500);
    let away = Product::of(&[issuer.id()]).await;
    let (channel, _server) = serve(away.identity.authenticate(), away.identity.require(&[])).await;
    let status = check(&channel, Some(&format!("Bearer {}", key.token(&claims)))).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.metadata().get("retry-after").is_some());
}

#[tokio::test]
async fn a_grpc_handler_sees_who_called() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let handler = service_fn(async |request: Request<Body>| {
        let caller: &Principal = request.extensions().get().expect("required");
        Ok::<_, Infallible>(http::Response::new(Body::new(caller.subject().to_owned())))
    });
    let service = ServiceBuilder::new().layer(product.identity.authenticate().required()).service(handler);
    let request = Request::post("/a.B/C").header("content-type", "application/grpc");
    let request = request.header("authorization", format!("Bearer {}", key.token(&claims(issuer.id()))));
    let answer = service.oneshot(request.body(Body::empty()).expect("a request")).await.expect("answered");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    assert_eq!(body, "ann");
}
