//! What stands around a route.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::get as route;
use halfbyte_core::{Live, Principal, TenantId};
use halfbyte_identity::access::{Access, AuthorizeLayer, Authorized, Checks, Entity};
use http::{HeaderName, Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};

use crate::parcel::{CREATE, Desk, Label, READ, Seen, get, label, named, send, user};

const METADATA: &str = "https://parcel.example/.well-known/oauth-protected-resource";

/// What the handler was given.
async fn shown(label: Authorized<Label>) -> String {
    format!("{} {} {}", label.id, label.entity().name(), label.action())
}

fn labels(access: &Access) -> Router {
    let layer = access.authorize(READ).in_path("Label", "/labels/{id}");
    Router::new().route("/labels/{*rest}", route(shown)).route_layer(layer)
}

async fn ask(layer: AuthorizeLayer, request: Request<Body>) -> Seen {
    let handler = tower::service_fn(async |request: Request<Body>| {
        let thing = Authorized::<Entity>::of(request.extensions()).expect("it went through the layer");
        Ok::<_, Infallible>(Response::new(thing.name().to_string()))
    });
    send(&layer.layer(handler), request).await
}

#[tokio::test]
async fn a_route_asks_for_the_tenant_as_a_whole_unless_it_says_what_else() {
    let desk = Desk::with_labels();
    let handler = async |tenant: Authorized<TenantId>| tenant.to_string();
    let routes = Router::new().route("/labels", route(handler)).route_layer(desk.access().authorize(CREATE));
    let seen = send(&routes, get("/labels", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, "acme"));
    let seen = send(&routes, get("/labels", Some(&user("ann", "acme", &[])))).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"));
    desk.suspend();
    let seen = send(&routes, get("/labels", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn who_has_not_signed_in_is_told_where_to() {
    let access = Desk::with_labels().access();
    let seen = ask(access.authorize(CREATE), get("/", None)).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (401, "unauthenticated"));
    assert_eq!(seen.header("www-authenticate"), "Bearer");
    let seen = ask(access.resource_metadata(METADATA).authorize(CREATE), get("/", None)).await;
    assert_eq!(seen.header("www-authenticate"), format!(r#"Bearer resource_metadata="{METADATA}""#));
}

#[tokio::test]
async fn the_handler_is_given_what_was_loaded_and_it_is_loaded_once() {
    let desk = Desk::with_labels();
    let seen = send(&labels(&desk.access()), get("/labels/l-1", Some(&user("ann", "acme", &[])))).await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, r#"l-1 Label::"l-1" ReadLabel"#));
    assert_eq!(desk.calls(), ["ann", "acme", r#"Label::"l-1""#]);
}

#[tokio::test]
async fn a_thing_of_another_tenant_and_one_that_is_not_there_are_refused_alike() {
    let routes = labels(&Desk::with_labels().access());
    let mut answers = Vec::new();
    for path in ["/labels/b-1", "/labels/g-1", "/labels/nowhere", "/labels/%00", "/labels/..%2Fl-1", "/labels/"] {
        let seen = send(&routes, get(path, Some(&user("ann", "acme", &[])))).await;
        if path == "/labels/" {
            assert_eq!(seen.status, 404, "no such route");
            continue;
        }
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"), "{path}");
        answers.push((seen.body, format!("{:?}", seen.headers)));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_path_is_read_as_the_handler_reads_it_and_nothing_goes_up() {
    let desk = Desk::with_labels();
    let ann = user("ann", "acme", &[]);
    desk.put(label("acme", "a/b", &ann));
    desk.put(label("acme", "..", &ann));
    let routes = labels(&desk.access());
    for (path, expected) in [
        ("/labels/l%2D1", 200),
        ("/labels/%6c-1", 200),
        ("/labels/a%2Fb", 200),
        ("/labels/l-1/pages", 200),
        ("/labels/l-1?of=g-1", 200),
        ("/labels/L-1", 403),
        ("/labels/l%252D1", 403),
        ("/labels/l-1%00", 403),
        ("/labels/%FF", 403),
        ("/labels//l-1", 403),
        ("/labels/..", 403),
        ("/labels/%2e%2E", 403),
        ("/labels/l-1/../g-1", 403),
        ("/labels/l-1/%2e%2e/g-1", 403),
        ("/labels/l-1/..%5Cg-1", 403),
        ("/labels/l-1/./pages", 403),
    ] {
        assert_eq!(send(&routes, get(path, Some(&ann))).await.status, expected, "{path}");
    }
    let long = format!("/labels/{}", "x".repeat(1025));
    desk.calls();
    assert_eq!(send(&routes, get(&long, Some(&ann))).await.status, 403);
    assert_eq!(desk.calls(), [""; 0], "the database does not see it");
}

#[tokio::test]
async fn a_route_that_was_moved_does_not_lose_its_guard() {
    let layer = || Desk::with_labels().access().authorize(READ).in_path("Label", "/tenants/{tenant}/labels/{id}");
    let ann = user("ann", "acme", &[]);
    assert_eq!(ask(layer(), get("/tenants/acme/labels/l-1", Some(&ann))).await.status, 200);
    for path in ["/labels/l-1", "/tenants/acme/l-1", "/tenants/acme/orders/l-1", "/tenants//labels/l-1"] {
        assert_eq!(ask(layer(), get(path, Some(&ann))).await.status, 403, "{path}");
    }
}

#[test]
fn a_pattern_without_an_id_is_a_defect() {
    let access = Desk::default().access();
    for pattern in ["labels/{id}", "/labels", "/labels/{label}", "/{id}/{id}", "/l-{id}"] {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(access.authorize(READ).in_path("Label", pattern));
        }));
        assert!(made.is_err(), "{pattern}");
    }
}

#[tokio::test]
async fn a_header_names_one_thing_or_none() {
    let header = HeaderName::from_static("x-label");
    let desk = Desk::with_labels();
    desk.put(label("acme", "", &user("ann", "acme", &[])));
    let layer = || desk.access().authorize(READ).in_header("Label", header.clone());
    for (values, expected) in [
        (&["l-1"][..], 200),
        (&[], 403),
        (&[""], 403),
        (&["g-1"], 403),
        (&["l-1", "l-1"], 403),
        (&["l-1", "g-1"], 403),
        (&["l-1, g-1"], 403),
        (&["ü"], 403),
    ] {
        let mut request = get("/", Some(&user("ann", "acme", &[])));
        for value in values {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            request.headers_mut().append(&header, value);
        }
        assert_eq!(ask(layer(), request).await.status, expected, "{values:?}");
    }
}

#[tokio::test]
async fn a_function_names_a_thing_or_gives_it_or_does_neither() {
    let (desk, ann) = (Desk::with_labels(), user("ann", "acme", &[]));
    let by_query = || desk.access().authorize(READ).found_by(|parts| parts.uri.query().map(named));
    for (path, expected) in [("/?l-1", 200), ("/?g-1", 403), ("/?x", 403), ("/?", 403), ("/", 403)] {
        assert_eq!(ask(by_query(), get(path, Some(&ann))).await.status, expected, "{path}");
    }
    let owner = ann.clone();
    let given = desk.access().authorize(READ).found_by(move |_| Some(label("acme", "new", &owner)));
    desk.calls();
    let seen = ask(given.clone(), get("/", Some(&ann))).await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, r#"Label::"new""#));
    assert_eq!(desk.calls(), ["ann", "acme"], "it is not asked for");
    assert_eq!(ask(given, get("/", Some(&user("bob", "acme", &[])))).await.status, 403);
}

#[tokio::test]
async fn it_is_unavailable_while_the_provider_fails_or_there_are_no_policies() {
    let (desk, ann) = (Desk::with_labels(), user("ann", "acme", &["clerk"]));
    desk.go_down();
    let none = Access::new(Live::failed("access", "no such folder"), Desk::with_labels());
    for access in [desk.access(), none] {
        for path in ["/labels/l-1", "/labels/nowhere"] {
            let seen = send(&labels(&access), get(path, Some(&ann))).await;
            assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"), "{path}");
            assert!(seen.header("retry-after").parse::<u64>().expect("seconds") >= 1);
        }
        let seen = ask(access.authorize(CREATE), get("/", Some(&ann))).await;
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"));
    }
}

#[tokio::test]
async fn of_several_layers_each_gives_what_it_permitted() {
    let access = Desk::with_labels().access();
    let handler = async |label: Authorized<Label>, tenant: Authorized<TenantId>, last: Authorized| {
        format!("{} {} {}", label.into_inner().id, *tenant, last.name())
    };
    let routes = Router::new()
        .route("/labels/{id}", route(handler))
        .route_layer(access.authorize(CREATE))
        .route_layer(access.authorize(READ).in_path("Label", "/labels/{id}"));
    let seen = send(&routes, get("/labels/l-1", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!(seen.body, r#"l-1 acme HalfByte::Tenant::"acme""#);
    assert_eq!(send(&routes, get("/labels/l-1", Some(&user("ann", "acme", &[])))).await.status, 403);
}

#[tokio::test]
async fn a_handler_that_takes_what_no_layer_gave_is_a_defect_of_the_product() {
    let access = Desk::with_labels().access();
    let ann = user("ann", "acme", &["clerk"]);
    let bare = Router::new()
        .route("/thing", route(async |_: Authorized| {}))
        .route("/checks", route(async |_: Checks| {}))
        .route("/other", route(async |_: Authorized<Label>| {}).layer(access.authorize(CREATE)));
    for path in ["/thing", "/checks", "/other"] {
        let seen = send(&bare, get(path, Some(&ann))).await;
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (500, "internal"), "{path}");
    }
}

/// May be called only once it was polled ready.
#[derive(Default)]
struct Polled(bool);

impl Clone for Polled {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Body>> for Polled {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "it was not polled ready");
        std::future::ready(Ok(Response::new(String::new())))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let mut service = Desk::with_labels().access().authorize(CREATE).layer(Polled::default());
    for _ in 0..2 {
        let request = get("/", Some(&user("ann", "acme", &["clerk"])));
        assert_eq!(service.ready().await.expect("ready").call(request).await.expect("infallible").status(), 200);
    }
}

/// A real gRPC server behind the layer; it ends with the set.
async fn serve(layer: AuthorizeLayer, principal: Option<Principal>) -> (Channel, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let signed_in = tower::util::MapRequestLayer::new(move |mut request: Request<tonic::body::Body>| {
        principal.clone().map(|principal| request.extensions_mut().insert(principal));
        request
    });
    let server = Server::builder().layer(ServiceBuilder::new().layer(signed_in).layer(layer)).add_service(health);
    let mut tasks = JoinSet::new();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tasks.spawn(async move { server.serve_with_incoming(incoming).await.expect("served") });
    (Channel::from_shared(address).expect("an address").connect().await.expect("connected"), tasks)
}

#[tokio::test]
async fn grpc_calls_are_refused_by_a_status() {
    let (desk, down) = (Desk::with_labels(), Desk::with_labels());
    down.go_down();
    for (desk, principal, expected) in [
        (&desk, Some(user("ann", "acme", &["clerk"])), None),
        (&desk, Some(user("ann", "acme", &[])), Some(Code::PermissionDenied)),
        (&desk, None, Some(Code::Unauthenticated)),
        (&down, Some(user("ann", "acme", &["clerk"])), Some(Code::Unavailable)),
    ] {
        let (channel, _server) = serve(desk.access().authorize(CREATE), principal).await;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        assert_eq!(answer.as_ref().err().map(|status| status.code()), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_handler_that_returns_a_denial_refuses_as_the_layer_does() {
    let desk = Desk::with_labels();
    let (access, ann) = (desk.access(), user("ann", "acme", &["clerk"]));
    let handler = async |checks: Checks| -> Result<&'static str, halfbyte_identity::access::Denied> {
        checks.check(READ, &label("acme", "l-7", &user("bob", "acme", &[]))).await?;
        Ok("read")
    };
    let routes = |access: &Access| Router::new().route("/", route(handler)).layer(access.authorize(CREATE));
    let ask = |grpc: bool| {
        let mut request = get("/", Some(&ann));
        let id = halfbyte_core::RequestId::random();
        request.extensions_mut().insert(id);
        if grpc {
            request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        }
        (request, id)
    };
    let (request, id) = ask(false);
    let seen = send(&routes(&access), request).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"));
    let body: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(body["request_id"], id.as_str(), "{body}");
    assert_eq!(seen.header("content-length"), seen.body.len().to_string());
    let by_layer = send(&labels(&access), get("/labels/b-1", Some(&ann))).await;
    let by_layer: serde_json::Value = serde_json::from_str(&by_layer.body).expect("JSON");
    assert_eq!((&body["type"], &body["detail"]), (&by_layer["type"], &by_layer["detail"]));
    let seen = send(&routes(&access), ask(true).0).await;
    assert_eq!((seen.status.as_u16(), seen.header("grpc-status"), seen.body.as_str()), (200, "7", ""));
    assert_eq!(seen.header("content-type"), "application/grpc");
    assert!(["", "0"].contains(&seen.header("content-length")));

    // Without a layer it is the same refusal, with no id to name.
    let bare = Router::new().route("/", route(handler)).layer(axum::Extension(access.checks(&ann)));
    let seen = send(&bare, ask(false).0).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"));
    let denied =
        access.check(&ann, READ, &label("acme", "l-7", &user("bob", "acme", &[]))).await.expect_err("not hers");
    assert_eq!(halfbyte_core::Problem::from(denied).kind().status(), 403);
}

#[tokio::test]
async fn what_layers_inside_have_added_to_a_denial_stays() {
    let access = Desk::with_labels().access();
    let handler = async |checks: Checks| -> Result<(), halfbyte_identity::access::Denied> {
        checks.check(READ, &label("acme", "l-7", &user("bob", "acme", &[]))).await
    };
    let add = tower::util::MapResponseLayer::new(|mut response: Response<Body>| {
        response.headers_mut().insert("x-added", http::HeaderValue::from_static("yes"));
        response.headers_mut().insert("cache-control", http::HeaderValue::from_static("max-age=60"));
        response
    });
    let routes = Router::new().route("/", route(handler)).layer(add).layer(access.authorize(CREATE));
    let seen = send(&routes, get("/", Some(&user("ann", "acme", &["clerk"])))).await;
    assert_eq!((seen.header("x-added"), seen.header("cache-control")), ("yes", "no-store"));
}
