//! Stands in front of a server and gives it bad days.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Clone, Copy)]
pub enum Fault {
    /// This, whatever it is asked.
    Answers(StatusCode, &'static str),
    /// Without a word.
    HangsUp,
    IsSilent,
    /// The answer, in the wrong shape.
    Garbles,
}

pub struct Proxy {
    url: String,
    fault: Arc<Mutex<Option<Fault>>>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Through {
    to: String,
    http: reqwest::Client,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Proxy {
    pub async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fault = Arc::new(Mutex::new(None));
        let through = Through { to, http: reqwest::Client::new(), fault: fault.clone() };
        let router = Router::new().fallback(forward).with_state(through);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, fault, _serving: serving }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }
}

async fn forward(
    State(through): State<Through>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = *through.fault.lock().unwrap();
    match fault {
        Some(Fault::Answers(status, body)) => return (status, body).into_response(),
        Some(Fault::IsSilent) => std::future::pending().await,
        Some(Fault::HangsUp) => {
            // A body that breaks off ends the connection.
            let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("hung up"))]);
            return axum::body::Body::from_stream(broken).into_response();
        }
        Some(Fault::Garbles) | None => {}
    }
    headers.remove("host");
    headers.remove("content-length");
    let to = format!("{}{uri}", through.to);
    let answer = through.http.request(method, to).headers(headers).body(body).send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    if fault.is_some() {
        return (StatusCode::OK, format!("[{}]", String::from_utf8_lossy(&body))).into_response();
    }
    (status, body).into_response()
}
