use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use tower::ServiceExt as _;

use crate::kit::{Kit, attribute, finish};

#[tokio::test]
async fn the_route_names_the_span_and_the_series_and_the_path_does_not() {
    let kit = Kit::new();
    let router = Router::new().route("/labels/{id}", get(async || "a label")).layer(kit.layer());
    for id in ["1", "2", "3"] {
        let request = Request::get(format!("/labels/{id}")).body(Body::empty()).unwrap();
        finish(router.clone().oneshot(request).await.unwrap()).await;
    }
    let spans = kit.spans();
    assert!(spans.iter().all(|span| span.name == "GET /labels/{id}"));
    assert!(spans.iter().all(|span| attribute(span, "http.route").as_deref() == Some("/labels/{id}")));
    assert_eq!(attribute(&spans[2], "url.path").as_deref(), Some("/labels/3"));
    let durations = kit.durations();
    assert_eq!(durations.len(), 1, "{durations:?}");
    assert_eq!((durations[0].attributes["http.route"].as_str(), durations[0].count), ("/labels/{id}", 3));
}

#[tokio::test]
async fn a_path_without_a_route_has_none() {
    let kit = Kit::new();
    let router = Router::new().route("/labels", get(async || "")).layer(kit.layer());
    let response = router.oneshot(Request::get("/wp-login.php").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 404);
    finish(response).await;
    let (span, series) = kit.once();
    assert_eq!(span.name, "GET");
    assert!(!series.attributes.contains_key("http.route"));
}
