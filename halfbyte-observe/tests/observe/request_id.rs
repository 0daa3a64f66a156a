use std::convert::Infallible;

use halfbyte_core::RequestId;
use halfbyte_observe::RequestIdLayer;
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::kit::{Body, finish, get};

async fn named(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let id = request.extensions().get::<RequestId>().expect("always there");
    let mut response = Response::new(Body::from(id.to_string()));
    response.headers_mut().insert("x-request-id", "of the handler".parse().unwrap());
    Ok(response)
}

/// The id that the handler saw, having checked that the response names the same and only it.
async fn id_of(request: Request<Body>) -> String {
    let response = RequestIdLayer::new().layer(service_fn(named)).oneshot(request).await.unwrap();
    let headers: Vec<_> = response.headers().get_all("x-request-id").iter().cloned().collect();
    let id = String::from_utf8(finish(response).await.to_vec()).unwrap();
    assert_eq!(headers, [id.as_str()]);
    id
}

#[tokio::test]
async fn a_request_without_an_id_gets_one_of_its_own() {
    let (first, second) = (id_of(get("/")).await, id_of(get("/")).await);
    assert_eq!(first.len(), 36);
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_well_formed_id_is_kept() {
    let mut request = get("/");
    request.headers_mut().insert("x-request-id", "order-42_a.b".parse().unwrap());
    assert_eq!(id_of(request).await, "order-42_a.b");
}

#[tokio::test]
async fn a_malformed_id_is_replaced() {
    for bad in ["", "a b", "a\tb", "{\"a\":1}", &"x".repeat(65)] {
        let mut request = get("/");
        request.headers_mut().insert("x-request-id", bad.parse().unwrap());
        assert_eq!(id_of(request).await.len(), 36, "{bad:?}");
    }
}

#[tokio::test]
async fn two_ids_are_none() {
    let mut request = get("/");
    request.headers_mut().append("x-request-id", "one".parse().unwrap());
    request.headers_mut().append("x-request-id", "two".parse().unwrap());
    assert_eq!(id_of(request).await.len(), 36);
}
