use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use super::requests::any_head;
use super::{Mutant, behind, listener};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant { what: "any number of headers is read", clause: "HB-REQ-008", make: |sound| behind(sound, any_head) },
    Mutant {
        what: "a large head is read over HTTP/2",
        clause: "HB-REQ-008",
        make: |sound| behind(sound, |_| gateway(|http| _ = http.http2().max_header_list_size(1 << 20))),
    },
    Mutant {
        what: "a connection of HTTP/2 has as many streams as its client likes",
        clause: "HB-REQ-008",
        make: |sound| behind(sound, |_| gateway(|http| _ = http.http2().max_concurrent_streams(1000))),
    },
    Mutant {
        what: "who resets streams may go on doing so",
        clause: "HB-REQ-008",
        make: |sound| {
            behind(sound, |_| gateway(|http| _ = http.http2().max_pending_accept_reset_streams(Some(100_000))))
        },
    },
];

/// Answers everything well itself, with the limits of `change` in place of the product's.
fn gateway(change: fn(&mut auto::Builder<TokioExecutor>)) -> SocketAddr {
    let (listener, address) = listener();
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2().max_header_list_size(64 * 1024);
    change(&mut http);
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let http = http.clone();
            drop(tokio::spawn(async move {
                let answer = async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())));
                _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            }));
        }
    }));
    address
}
