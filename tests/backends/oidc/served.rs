//! A product that is reached over the network.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get};
use futures_util::stream;
use halfbyte::Principal;
use halfbyte::core::Clock;
use halfbyte::core::config::IdentityBackend;
use halfbyte::core::home::Home;
use halfbyte::identity::{Identity, Settings};
use http::Method;
use reqwest::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Product, Provider};

/// It greets callers at `/labels`, and at `/ticks` it ticks for them, tied to their credentials.
pub struct Served {
    pub product: Product,
    pub url: String,
    http: reqwest::Client,
    _serving: JoinSet<()>,
}

impl Served {
    /// A product called `audience`, whose settings `change` makes complete.
    pub async fn start(
        provider: &Provider,
        audience: &str,
        clock: Clock,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = |home: Home| {
            let issuer = IdentityBackend::issuer(provider.issuer.clone());
            change(Settings::new(vec![issuer], audience, url.parse().unwrap(), home))
        };
        let product = Product::with(clock, settings).await;
        product.identity.ready().await.unwrap();
        let router = router(&product.identity);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { product, url, http: reqwest::Client::new(), _serving: serving }
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Method::GET, path, headers).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = self.http.request(method, format!("{}{path}", self.url));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    /// The status for a caller with a bearer token.
    pub async fn status(&self, token: &str) -> u16 {
        self.get("/labels", &[("authorization", &format!("Bearer {token}"))]).await.status().as_u16()
    }
}

fn router(identity: &Identity) -> Router {
    let greet = async |caller: Principal| format!("hello, {}", caller.subject());
    let tie = {
        let identity = identity.clone();
        move |caller: Principal| async move { Body::from_stream(identity.tie(&caller).stream(ticks())) }
    };
    Router::new()
        .route("/labels", any(greet))
        .route("/ticks", get(tie))
        .layer(identity.require(&["labels:read"]))
        .layer(identity.authenticate())
        .layer(identity.endpoints())
}

fn ticks() -> impl stream::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold((), async |()| {
        sleep(Duration::from_millis(20)).await;
        Some((Ok(Bytes::from_static(b"tick\n")), ()))
    })
}

/// What a refused caller is told: the status, the kind of problem, and the challenge.
pub async fn refusal(response: Response) -> (u16, String, String) {
    let challenge = response.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let problem: Value = super::json(response).await;
    let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (status, kind, challenge)
}
