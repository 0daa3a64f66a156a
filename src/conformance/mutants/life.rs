use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse as _, Response};
use halfbyte_core::lifecycle::Phase;
use http::{StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::Conformance;
use super::{Mutant, admin, behind, ending, listener, outside, with};
use crate::error::{Error, ErrorKind};

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
            admin(sound, |service| service.layer(from_fn(async |request, next| edited(request, next, "/checks").await)))
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
        what: "a product that is told to stop hangs up on requests of HTTP/1",
        clause: "HB-LIFE-002",
        make: |sound| hanging_up(sound, Version::HTTP_11, Phase::LameDuck),
    },
    Mutant {
        what: "what is in flight over HTTP/1 is cut off with the drain",
        clause: "HB-LIFE-002",
        make: |sound| hanging_up(sound, Version::HTTP_11, Phase::Draining),
    },
    Mutant {
        what: "streams of HTTP/2 are reset in the lame duck, and nothing says that they were not handled",
        clause: "HB-LIFE-002",
        make: |sound| hanging_up(sound, Version::HTTP_2, Phase::LameDuck),
    },
    Mutant {
        what: "connections of HTTP/2 are closed without GOAWAY and without an answer",
        clause: "HB-LIFE-002",
        make: |sound| behind(sound, closing),
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
        what: "what was cut off is nobody's business",
        clause: "HB-LIFE-004",
        make: |sound| ending(sound, |_ended| Ok(())),
    },
    Mutant {
        what: "a drain that leaves something looks like a start that failed",
        clause: "HB-LIFE-004",
        make: |sound| ending(sound, |ended| ended.map_err(|_| Error::new(ErrorKind::Unavailable, "it ended badly"))),
    },
    Mutant {
        what: "the manifest leaves routes out",
        clause: "HB-LIFE-006",
        make: |sound| {
            admin(sound, |service| service.layer(from_fn(async |request, next| edited(request, next, "/routes").await)))
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
        what: "in the lame duck HTTP/1 is not told that its connection ends",
        clause: "HB-LIFE-009",
        make: |sound| behind(sound, |product| deaf(product, Version::HTTP_11)),
    },
    Mutant {
        what: "a gateway keeps connections of HTTP/2 open, and does not pass on GOAWAY",
        clause: "HB-LIFE-009",
        make: |sound| behind(sound, |product| deaf(product, Version::HTTP_2)),
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

/// Answers itself, and well, what comes by this version of HTTP, whatever its product is told; the rest it hands on.
fn deaf(product: SocketAddr, version: Version) -> SocketAddr {
    let (listener, address) = listener();
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                let mut first = [0; 3];
                let is_http2 = client.peek(&mut first).await.is_ok_and(|_| &first == b"PRI");
                if is_http2 == (version == Version::HTTP_2) {
                    let answer = service_fn(async |_: http::Request<Incoming>| {
                        Ok::<_, Infallible>(Response::new(Body::empty()))
                    });
                    let http = auto::Builder::new(TokioExecutor::new());
                    _ = http.serve_connection(TokioIo::new(client), answer).await;
                } else if let Ok(mut server) = TcpStream::connect(product).await {
                    _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }));
        }
    }));
    address
}

/// A response that was made when its product had been told to stop.
#[derive(Clone)]
struct Told(Phase);

/// Handles requests, and from a phase on does not answer them: over HTTP/1 the connection is closed, over HTTP/2 the stream is reset.
fn hanging_up(sound: Conformance, version: Version, from: Phase) -> Conformance {
    let sound = with(sound, |platform, routes| {
        let life = platform.lifecycle().clone();
        routes.layer(map_response(move |mut response: Response| {
            response.extensions_mut().insert(Told(life.phase()));
            std::future::ready(response)
        }))
    });
    outside(sound, move |service| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let is_it = request.version() == version;
            let response = next.run(request).await;
            if is_it && response.extensions().get::<Told>().is_some_and(|told| told.0 >= from) {
                // The task of the connection, or of the stream, ends as by a panic, without the noise of one.
                std::panic::resume_unwind(Box::new(()));
            }
            response
        }))
    })
}

/// A proxy that after a while closes a connection of HTTP/2 when the next request comes over it. It is there as long as the product.
fn closing(product: SocketAddr) -> SocketAddr {
    let (listener, address) = listener();
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok(mut server) = TcpStream::connect(product).await else { break };
            drop(tokio::spawn(async move {
                let mut first = [0; 3];
                client.read_exact(&mut first).await?;
                server.write_all(&first).await?;
                let both = copy_bidirectional(&mut client, &mut server);
                if &first != b"PRI" {
                    return both.await.map(drop);
                }
                if timeout(Duration::from_millis(300), both).await.is_err() {
                    // One that was under way gets no answer either.
                    _ = timeout(Duration::from_millis(100), client.read_u8()).await;
                }
                std::io::Result::Ok(())
            }));
        }
    }));
    address
}

/// Empties a list of what operators are shown, by where it is (RFC 6901).
pub(super) async fn edited(request: Request, next: Next, list: &str) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    head.headers.remove("content-length");
    let Ok(mut shown) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return (head.status, body).into_response();
    };
    if let Some(list) = shown.pointer_mut(list).and_then(|list| list.as_array_mut()) {
        list.clear();
    }
    (head.status, head.headers, shown.to_string()).into_response()
}
