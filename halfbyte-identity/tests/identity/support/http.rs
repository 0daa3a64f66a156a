use std::fmt::Debug;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::{Service, ServiceExt as _};

/// A response as its client sees it, and as the layers outside do.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub extensions: Extensions,
    pub body: String,
    /// What the body said of its size before it was read.
    pub announced: Option<u64>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The last part of the problem's type.
    pub fn problem(&self) -> String {
        let json = self.json();
        json["type"].as_str().expect("a type").rsplit(':').next().expect("a part").to_owned()
    }
}

pub async fn send<S, B, R>(service: &S, request: Request<B>) -> Seen
where
    S: Service<Request<B>, Response = Response<R>, Error: Debug> + Clone,
    R: Body<Data = Bytes, Error: Debug>,
{
    let response = service.clone().oneshot(request).await.expect("the service does not fail");
    let (parts, body) = response.into_parts();
    let announced = body.size_hint().exact();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Seen {
        status: parts.status,
        headers: parts.headers,
        extensions: parts.extensions,
        body: String::from_utf8(body.into()).expect("text"),
        announced,
    }
}

pub fn get(path: &str) -> Request<String> {
    Request::builder().uri(path).body(String::new()).expect("a request")
}

pub fn with_token(token: &str) -> Request<String> {
    let mut request = get("/labels");
    let value = format!("Bearer {token}").parse().expect("a header value");
    request.headers_mut().insert("authorization", value);
    request
}
