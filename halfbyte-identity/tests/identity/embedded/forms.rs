//! What the token, revocation and introspection endpoints have in common.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use tower::{ServiceBuilder, service_fn};

use super::{INTROSPECT, REVOKE, Registered, assert_refused};
use crate::support::{Product, send};

const ENDPOINTS: [&str; 3] = ["/oauth/token", REVOKE, INTROSPECT];

/// A body that says nothing, or goes on and on.
enum Misbehaving {
    Silent,
    Endless,
}

impl http_body::Body for Misbehaving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match *self {
            Self::Silent => Poll::Pending,
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'a'; 1024]))))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_that_hangs_or_never_ends_is_given_up() {
    let product = Product::embedded().await;
    let service = ServiceBuilder::new()
        .layer(product.identity.endpoints())
        .service(service_fn(async |_request: Request<Misbehaving>| Ok::<_, Infallible>(Response::new(String::new()))));
    for path in ENDPOINTS {
        for (body, seconds) in [(Misbehaving::Silent, 5), (Misbehaving::Endless, 0)] {
            let begun = tokio::time::Instant::now();
            let seen = send(&service, Request::post(path).body(body).expect("a request")).await;
            assert_refused(&seen, 400, "invalid_request");
            assert_eq!(begun.elapsed().as_secs(), seconds, "{path}");
        }
    }
}

#[tokio::test]
async fn each_endpoint_reads_a_form_of_bounded_size_that_is_posted() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let fields = [("grant_type", "client_credentials"), ("token", "x")];
    let size = |padding: &str| {
        let secret = secrecy::ExposeSecret::expose_secret(&client.secret).len();
        "client_id=acme-app&client_secret=&grant_type=client_credentials&token=x&pad=".len() + secret + padding.len()
    };
    for path in ENDPOINTS {
        let fits = "x".repeat(16 * 1024 - size(""));
        let with = |pad: &str| [fields[0], fields[1], ("pad", pad)].map(|(name, value)| (name, value.to_owned()));
        for (pad, status) in [(fits.clone(), 200), (format!("{fits}x"), 400)] {
            let fields = with(&pad);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let seen = client.post(&product, path, &fields).await;
            assert_eq!(seen.status, status, "{path}: {} bytes: {}", size(&pad), seen.body);
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let request = Request::builder().method(method).uri(path).body(String::new()).expect("a request");
            let seen = send(&product.endpoints(), request).await;
            assert_eq!((seen.status.as_u16(), seen.header("allow"), seen.body.as_str()), (405, "POST", ""));
        }
        let json = Request::post(path).header("content-type", "application/json");
        assert_refused(
            &send(&product.endpoints(), json.body("{}".to_owned()).expect("a request")).await,
            400,
            "invalid_request",
        );
        let twice = client.post(&product, path, &[("token", "x"), ("token", "y")]).await;
        assert_refused(&twice, 400, "invalid_request");
    }
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_are_told_the_same_at_each_endpoint() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let token = client.token(&product).await;
    let nobody = Registered { id: "nobody", secret: client.secret.clone() };
    let wrong = Registered { id: "acme-app", secret: "hbcs_wrong".into() };
    let fields = [("grant_type", "client_credentials"), ("token", token.as_str())];
    let mut answers = Vec::new();
    for path in ENDPOINTS {
        for client in [&nobody, &wrong] {
            let seen = client.post(&product, path, &fields).await;
            assert_refused(&seen, 401, "invalid_client");
            answers.push((seen.headers, seen.body));
        }
        let form = format!("grant_type=client_credentials&token={token}");
        let seen = send(&product.endpoints(), Request::post(path).body(form).expect("a request")).await;
        assert_refused(&seen, 401, "invalid_client");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(super::status_of(&product, &token).await, 200, "nothing was revoked");
}

#[tokio::test]
async fn each_endpoint_takes_the_credentials_from_the_header_too() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let pair = format!("acme-app:{}", secrecy::ExposeSecret::expose_secret(&client.secret));
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    for path in ENDPOINTS {
        let request = Request::post(path).header("authorization", format!("Basic {basic}"));
        let form = "grant_type=client_credentials&token=x".to_owned();
        assert_eq!(send(&product.endpoints(), request.body(form).expect("a request")).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn while_the_file_cannot_be_read_each_endpoint_says_503_to_whom_it_does_not_know() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let token = client.token(&product).await;
    std::fs::write(super::path_of(&product), "garbage").expect("written");
    let stranger = Registered { id: "somebody", secret: client.secret.clone() };
    for path in ENDPOINTS {
        let seen = stranger.post(&product, path, &[("token", &token)]).await;
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"), "{path}");
    }
    let seen = client.revoke(&product, &token).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"), "it cannot be kept");
    assert_eq!(seen.header("retry-after"), "1");
    assert_eq!(client.introspect(&product, &token).await["active"], true);
}
