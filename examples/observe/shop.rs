//! The product that is watched: a shop, whose warehouse it asks over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, middleware};
use halfbyte::core::PeerAddress;
use halfbyte::observe::client::Client;
use halfbyte::observe::{ClientLayer, RequestIdLayer, Sensitive, ServerLayer, TraceTrust};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer as _, ServiceExt as _};

use crate::Outcome;
use crate::secrets::{CARD, JWT, PASSWORD};

pub struct Shop {
    pub url: String,
    /// A customer's: what it sends is traced by nobody.
    pub http: reqwest::Client,
    _server: JoinSet<std::io::Result<()>>,
}

#[derive(Clone)]
struct Warehouse {
    url: String,
    http: reqwest::Client,
    observed: Client<reqwest::Client>,
}

pub async fn open() -> Outcome<Shop> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (url, http) = (format!("http://{}", listener.local_addr()?), reqwest::Client::new());
    let observed = ClientLayer::new().layer(http.clone());
    let warehouse = Warehouse { url: url.clone(), http: http.clone(), observed };
    // Whoever is on this machine may say which trace a request belongs to.
    let here = TraceTrust::networks(["127.0.0.0/8".parse()?]);
    let app = Router::new()
        .route("/orders/{item}", post(order))
        .route("/stock/{item}", get(stock))
        .route("/wait/{millis}", get(wait))
        .route("/login", get(login))
        .route("/panic", get(panic))
        .route("/fail", get(fail))
        .route("/browse", get(async || "nothing new"))
        .with_state(warehouse)
        // The last one is the outermost.
        .layer(ServerLayer::new().query(true).trace_from(here))
        .layer(RequestIdLayer::new())
        .layer(middleware::map_request(peer));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    Ok(Shop { url, http, _server: server })
}

impl Shop {
    pub async fn get(&self, path: &str) -> Outcome<u16> {
        Ok(self.http.get(format!("{}{path}", self.url)).send().await?.status().as_u16())
    }
}

/// Who is at the other end, in the word that all crates share.
async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(PeerAddress(address));
    request
}

async fn order(State(warehouse): State<Warehouse>, Path(item): Path<String>) -> Result<String, StatusCode> {
    tracing::info!(item, "somebody wants something");
    let left = warehouse.ask(&item).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    charge(499).await;
    Ok(format!("{left} left"))
}

impl Warehouse {
    #[tracing::instrument(name = "ask the warehouse", skip_all)]
    async fn ask(&self, item: &str) -> Outcome<String> {
        let request = self.http.get(format!("{}/stock/{item}", self.url)).build()?;
        Ok(self.observed.clone().oneshot(request).await?.text().await?)
    }
}

#[tracing::instrument(name = "charge the card")]
async fn charge(cents: u64) {
    sleep(Duration::from_millis(9)).await;
    tracing::info!(cents, "charged");
}

async fn stock(Path(item): Path<String>) -> String {
    count_boxes().await;
    tracing::warn!(item, "few are left");
    "3".to_owned()
}

#[tracing::instrument(name = "count boxes")]
async fn count_boxes() {
    sleep(Duration::from_millis(14)).await;
}

async fn wait(Path(millis): Path<u64>) {
    sleep(Duration::from_millis(millis)).await;
}

/// Logs what nobody should.
async fn login() -> &'static str {
    let card = Sensitive::new(CARD);
    tracing::info!(password = PASSWORD, %card, "signing in");
    tracing::warn!("refused: authorization: Bearer {JWT}");
    tracing::warn!("cannot connect to postgres://ada:{PASSWORD}@db.example/shop?sslmode=require");
    "no"
}

async fn panic() {
    check_paper().await;
}

#[tracing::instrument(name = "print a receipt")]
async fn check_paper() {
    panic!("no paper");
}

async fn fail() -> StatusCode {
    charge(1).await;
    tracing::error!("the till is stuck");
    StatusCode::INTERNAL_SERVER_ERROR
}
