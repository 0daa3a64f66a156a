//! Who asked and for what, where proxies stand in front: they are believed, and nobody else is.

use std::net::SocketAddr;

use halfbyte_core::PeerAddress;
use http::Request;
use opentelemetry_sdk::trace::SpanData;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, attribute, finish, ok};

const FORWARDED: &str = "for=192.0.2.1;proto=https;host=shop.example";

async fn seen(kit: &Kit, peer: &str, headers: &[(&str, &str)]) -> SpanData {
    let layer = kit.layer().trusted_proxies(["10.0.0.0/8".parse().unwrap()]);
    let mut request = Request::get("/").header("host", "inner:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::default()).unwrap();
    request.extensions_mut().insert(PeerAddress(peer.parse::<SocketAddr>().unwrap()));
    finish(layer.layer(service_fn(ok)).oneshot(request).await.unwrap()).await;
    kit.span()
}

fn check(span: &SpanData, expected: &[(&str, Option<&str>)]) {
    for (key, value) in expected {
        assert_eq!(attribute(span, key).as_deref(), *value, "{key}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_goes_before_the_connection() {
    let kit = Kit::new();
    let span = seen(&kit, "10.0.0.7:4711", &[("forwarded", FORWARDED)]).await;
    check(
        &span,
        &[
            ("client.address", Some("192.0.2.1")),
            ("client.port", None),
            ("network.peer.address", Some("10.0.0.7")),
            ("network.peer.port", Some("4711")),
            ("server.address", Some("shop.example")),
            ("server.port", None),
            ("url.scheme", Some("https")),
        ],
    );
    assert_eq!(kit.durations()[0].attributes["url.scheme"], "https");
}

#[tokio::test]
async fn what_anyone_else_says_means_nothing() {
    let kit = Kit::new();
    let headers = [("forwarded", FORWARDED), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
    let span = seen(&kit, "198.51.100.9:4711", &headers).await;
    check(
        &span,
        &[
            ("client.address", Some("198.51.100.9")),
            ("network.peer.address", Some("198.51.100.9")),
            ("server.address", Some("inner")),
            ("server.port", Some("8080")),
            ("url.scheme", Some("http")),
        ],
    );
}

#[tokio::test]
async fn the_older_headers_are_read_too() {
    let kit = Kit::new();
    let headers = [
        ("x-forwarded-for", "203.0.113.5, 192.0.2.1, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "[2001:db8::7]:8443"),
    ];
    let span = seen(&kit, "10.0.0.7:4711", &headers).await;
    check(
        &span,
        &[
            ("client.address", Some("192.0.2.1")),
            ("server.address", Some("2001:db8::7")),
            ("server.port", Some("8443")),
            ("url.scheme", Some("https")),
        ],
    );
}

#[tokio::test]
async fn a_proxy_that_hides_its_client_leaves_it_unknown() {
    let kit = Kit::new();
    let span = seen(&kit, "10.0.0.7:4711", &[("forwarded", "for=_hidden")]).await;
    check(&span, &[("client.address", None), ("network.peer.address", Some("10.0.0.7"))]);
}

#[tokio::test]
async fn a_proxy_that_asks_for_itself_is_the_client() {
    let kit = Kit::new();
    let span = seen(&kit, "[::ffff:10.0.0.7]:4711", &[]).await;
    check(&span, &[("client.address", Some("10.0.0.7")), ("network.peer.address", Some("10.0.0.7"))]);
}
