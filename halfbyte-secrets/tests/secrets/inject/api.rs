//! A service in memory that takes one token, and requests for it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::http::StatusCode;
use halfbyte_core::{BoxError, Lifecycle};
use halfbyte_secrets::inject::Hosts;
use halfbyte_secrets::{Secret, Secrets};
use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Service, ServiceExt as _};

use crate::backend::Backend;
use crate::lifecycle;

pub const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A secret that is loaded, and what it comes from.
pub async fn secret(value: &str) -> (Backend, Secret<String>, Lifecycle) {
    let (backend, lifecycle) = (Backend::holding(value), lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get("token");
    secret.ready().await.expect("loaded");
    (backend, secret, lifecycle)
}

pub async fn rotated(backend: &Backend, secret: &Secret<String>, value: &str) {
    let seen = secret.generation();
    backend.set(value);
    secret.changed(seen).await;
}

pub fn example() -> Hosts {
    Hosts::new(["api.example.com"]).expect("a host")
}

/// Answers 200 to who has this token, and 401 to others; keeps the requests that came.
#[derive(Clone, Default)]
pub struct Api {
    pub token: Arc<Mutex<String>>,
    pub came: Arc<Mutex<Vec<Request<()>>>>,
    pub other_status: Option<StatusCode>,
}

impl Api {
    pub fn taking(token: &str) -> Self {
        let api = Self::default();
        api.take(token);
        api
    }

    pub fn take(&self, token: &str) {
        *self.token.lock().expect("a lock") = format!("Bearer {token}");
    }

    pub fn answering(other_status: StatusCode) -> Self {
        Self { other_status: Some(other_status), ..Self::default() }
    }

    /// The values of a header of the last request.
    pub fn last(&self, name: &HeaderName) -> Vec<HeaderValue> {
        let came = self.came.lock().expect("a lock");
        came.last().expect("a request").headers().get_all(name).iter().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.came.lock().expect("a lock").len()
    }
}

impl<B> Service<Request<B>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = request.headers().get("authorization").cloned();
        let is_good = token.is_some_and(|token| token.as_bytes() == self.token.lock().expect("a lock").as_bytes());
        self.came.lock().expect("a lock").push(request.map(drop));
        let mut response = Response::new(());
        if !is_good {
            *response.status_mut() = self.other_status.unwrap_or(StatusCode::UNAUTHORIZED);
        }
        ready(Ok(response))
    }
}

pub fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

pub fn with(uri: &str, name: HeaderName, values: &[&'static str]) -> Request<()> {
    let mut request = get(uri);
    for value in values {
        request.headers_mut().append(name.clone(), HeaderValue::from_static(value));
    }
    request
}

pub async fn status<S, R, B>(service: S, request: R) -> Result<StatusCode, BoxError>
where
    S: Service<R, Response = Response<B>, Error = BoxError>,
{
    Ok(service.oneshot(request).await?.status())
}
