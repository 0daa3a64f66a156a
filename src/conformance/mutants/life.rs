use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use halfbyte_core::lifecycle::Phase;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::{Mutant, admin, outside, with};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a proxy before the admin listener says that all is well",
        clause: "HB-LIFE-001",
        make: |sound| {
            admin(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    *response.status_mut() = StatusCode::OK;
                    response
                }))
            })
        },
    },
    Mutant {
        what: "operators are not told of what the product needs",
        clause: "HB-LIFE-001",
        make: |sound| {
            admin(sound, |service| service.layer(from_fn(async |request, next| edited(request, next, "checks").await)))
        },
    },
    Mutant {
        what: "a product that is told to stop answers errors",
        clause: "HB-LIFE-002",
        make: |sound| {
            with(sound, |platform, routes| {
                let life = platform.lifecycle().clone();
                routes.layer(from_fn(move |request: Request, next: Next| {
                    let is_told = life.phase() >= Phase::LameDuck;
                    async move {
                        if is_told {
                            StatusCode::INTERNAL_SERVER_ERROR.into_response()
                        } else {
                            next.run(request).await
                        }
                    }
                }))
            })
        },
    },
    Mutant {
        what: "a proxy does not tell when to come back",
        clause: "HB-LIFE-002",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    response.headers_mut().remove("retry-after");
                    response
                }))
            })
        },
    },
    Mutant {
        what: "a task of the product never ends",
        clause: "HB-LIFE-004",
        make: |sound| {
            with(sound, |platform, routes| {
                drop(platform.lifecycle().spawn("endless", std::future::pending::<()>()));
                routes
            })
        },
    },
    Mutant {
        what: "the manifest leaves routes out",
        clause: "HB-LIFE-006",
        make: |sound| {
            admin(sound, |service| service.layer(from_fn(async |request, next| edited(request, next, "routes").await)))
        },
    },
    Mutant {
        what: "who cannot be verified at the moment is told to sign in",
        clause: "HB-LIFE-007",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                        *response.status_mut() = StatusCode::UNAUTHORIZED;
                    }
                    response
                }))
            })
        },
    },
    Mutant {
        what: "a proxy wants a new connection for each request",
        clause: "HB-LIFE-009",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let mut response = next.run(request).await;
                    response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
                    response
                }))
            })
        },
    },
];

/// Empties a list of what operators are shown.
async fn edited(request: Request, next: Next, list: &str) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    head.headers.remove("content-length");
    let Ok(mut shown) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return (head.status, body).into_response();
    };
    if let Some(list) = shown.get_mut(list).and_then(|list| list.as_array_mut()) {
        list.clear();
    }
    (head.status, head.headers, shown.to_string()).into_response()
}
