use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use http::{Request, Response};
use tower::{Layer as _, Service};

use crate::remote::Issuer;
use crate::support::{Key, Product, claims, get, with_token};

/// Panics when it is called without having been polled ready, and counts. A clone has not been polled.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: self.calls.clone() }
    }
}

impl Service<Request<String>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(String::new())))
    }
}

async fn call<S>(service: &mut S, request: Request<String>) -> http::StatusCode
where
    S: Service<Request<String>, Response = Response<Refusable<String>>, Error = Infallible>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.expect("ready");
    service.call(request).await.expect("answered").status()
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let strict = Strict::default();
    let mut service = product.identity.authenticate().layer(strict.clone());
    let token = key.token(&claims(issuer.id()));
    assert!(product.identity.authenticator().authenticate_now(&token).is_none(), "there are no keys yet");
    // The first has to wait for keys, the second is known, the third is nobody's.
    assert_eq!(call(&mut service, with_token(&token)).await, 200);
    assert_eq!(call(&mut service, with_token(&token)).await, 200);
    assert_eq!(call(&mut service, get("/")).await, 200);
    assert_eq!(call(&mut service, with_token("a.b.c")).await, 401);
    assert_eq!(call(&mut service, get("/")).await, 200);
    assert_eq!(strict.calls.load(Ordering::Relaxed), 4);

    let mut service = product.identity.require(&[]).layer(strict.clone());
    assert_eq!(call(&mut service, get("/")).await, 401);
    assert_eq!(strict.calls.load(Ordering::Relaxed), 4);

    let mut service = product.identity.endpoints().layer(strict.clone());
    assert_eq!(call(&mut service, get("/.well-known/oauth-protected-resource")).await, 200);
    assert_eq!(call(&mut service, get("/")).await, 200);
    assert_eq!(strict.calls.load(Ordering::Relaxed), 5);
}
