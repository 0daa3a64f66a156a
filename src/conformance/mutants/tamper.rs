//! Ways to break a product between its layers and its clients.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::super::Conformance;
use super::outside;

/// Larger than anything that is tampered with, in bytes.
const MOST: usize = 1 << 20;

/// Changes answers, by what was asked.
pub(super) fn answers(sound: Conformance, change: fn(&Parts, &mut Response)) -> Conformance {
    outside(sound, move |service| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let (parts, body) = request.into_parts();
            let asked = parts.clone();
            let mut response = next.run(Request::from_parts(parts, body)).await;
            change(&asked, &mut response);
            response
        }))
    })
}

/// Changes the text of answers in JSON, by their status.
pub(super) fn bodies(sound: Conformance, change: fn(u16, String) -> String) -> Conformance {
    rewritten(sound, move |_, status, text| change(status, text))
}

/// The same, by what was asked too.
pub(super) fn rewritten(
    sound: Conformance,
    change: impl Fn(&Parts, u16, String) -> String + Copy + Send + Sync + 'static,
) -> Conformance {
    outside(sound, move |service| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let (asked, body) = request.into_parts();
            let response = next.run(Request::from_parts(asked.clone(), body)).await;
            if response.headers().get("content-type").is_none_or(|is| !is.as_bytes().ends_with(b"json")) {
                return response;
            }
            let (mut head, body) = response.into_parts();
            let text = String::from_utf8_lossy(&to_bytes(body, MOST).await.unwrap_or_default()).into_owned();
            let text = change(&asked, head.status.as_u16(), text);
            head.headers.insert(CONTENT_LENGTH, text.len().into());
            Response::from_parts(head, Body::from(text))
        }))
    })
}

/// Changes requests before the layers see them.
pub(super) fn requests(sound: Conformance, change: fn(&mut Request)) -> Conformance {
    outside(sound, move |service| {
        service.layer(from_fn(move |mut request: Request, next: Next| async move {
            change(&mut request);
            next.run(request).await
        }))
    })
}

/// Changes what has this status below a path.
pub(super) fn on(sound: Conformance, path: &'static str, status: StatusCode, change: fn(&mut Response)) -> Conformance {
    outside(sound, move |service| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let is_meant = request.uri().path().starts_with(path);
            let mut answer = next.run(request).await;
            if is_meant && answer.status() == status {
                change(&mut answer);
            }
            answer
        }))
    })
}

/// Changes all answers.
pub(super) fn all(sound: Conformance, change: impl Fn(&mut Response) + Clone + Send + Sync + 'static) -> Conformance {
    outside(sound, move |service| {
        let change = change.clone();
        service.layer(map_response(move |mut answer: Response| {
            change(&mut answer);
            std::future::ready(answer)
        }))
    })
}

/// Changes challenges.
pub(super) fn challenge(sound: Conformance, change: fn(&str) -> Option<String>) -> Conformance {
    all(sound, move |answer| {
        let said = answer.headers().get(WWW_AUTHENTICATE).and_then(|text| text.to_str().ok());
        let said = said.and_then(change).and_then(|text| HeaderValue::from_str(&text).ok());
        said.into_iter().for_each(|said| drop(answer.headers_mut().insert(WWW_AUTHENTICATE, said)));
    })
}

/// Changes refusals in gRPC.
pub(super) fn grpc(sound: Conformance, change: fn(&mut Response)) -> Conformance {
    all(sound, move |answer| {
        if answer.headers().contains_key("problem-type") {
            change(answer);
        }
    })
}

/// Says another time to try again.
pub(super) fn retry(sound: Conformance, when: &'static str) -> Conformance {
    all(sound, move |answer| {
        if answer.headers().contains_key(RETRY_AFTER) {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(when));
        }
    })
}
