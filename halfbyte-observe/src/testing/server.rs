//! Connections and requests of a [`Receiver`](super::Receiver).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, Refusal};
use super::fault::{Fault, Faults};
use super::request;
use super::store::{Arrival, Items, Received};
use crate::Signal;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) received: watch::Sender<Received>,
    pub(super) faults: Faults,
}

/// Runs until it is dropped, and all connections end with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, shared.clone()))),
                // Out of file descriptors, most likely: to try again at once would take the processor as well.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// HTTP/1 or HTTP/2, as the client starts.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _slower_at_worst = stream.set_nodelay(true);
    let cut = CancellationToken::new();
    let service = service_fn(|request| {
        let (shared, cut) = (shared.clone(), cut.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, cut).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        biased;
        // What ends it early is the client's business.
        _ended = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = cut.cancelled() => {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared, connection: CancellationToken) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let route = request::route(parts.uri.path());
    let is_grpc = route.map_or_else(
        || {
            parts
                .headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|sent| HeaderValue::as_bytes(sent).starts_with(b"application/grpc"))
        },
        |(_, is_grpc)| is_grpc,
    );
    let mut arrival = Arrival {
        signal: route.map(|(signal, _)| signal),
        is_grpc,
        path: parts.uri.path().to_owned(),
        headers: request::headers(&parts.headers),
        body_len: 0,
        items: 0,
        kept: 0,
        fault: None,
    };
    let read = match Limited::new(body, request::MOST).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            arrival.body_len = body.len();
            read(route, &parts, body)
        }
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TOO_LARGE),
        Err(_) => Err(Refusal::INVALID),
    };
    let (signal, mut items, message) = match read {
        Ok(read) => read,
        Err(refusal) => {
            shared.received.send_modify(|received| received.take(arrival, None, &[]));
            return refusal.answer(is_grpc);
        }
    };
    arrival.items = items.len();
    arrival.fault = shared.faults.draw();
    let fault = arrival.fault.clone();
    if let Some(Fault::Reject(rejected)) = fault {
        items.truncate(arrival.items.saturating_sub(rejected));
    }
    let kept = match fault {
        Some(Fault::Hang | Fault::Status { .. }) => None,
        Some(Fault::Slow(_) | Fault::Reject(_) | Fault::Cut) | None => Some(items),
    };
    arrival.kept = kept.as_ref().map_or(0, Items::len);
    let rejected = arrival.items - arrival.kept;
    shared.received.send_modify(|received| received.take(arrival, kept, &message));
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            answer::taken(signal, is_grpc, 0)
        }
        Some(Fault::Status { http, grpc, retry_after }) => {
            let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Refusal { http, grpc, retry_after }.answer(is_grpc)
        }
        Some(Fault::Cut) => answer::cut(is_grpc, connection),
        Some(Fault::Reject(_)) | None => answer::taken(signal, is_grpc, rejected),
    }
}

fn read(
    route: Option<(Signal, bool)>,
    parts: &http::request::Parts,
    body: Bytes,
) -> Result<(Signal, Items, Bytes), Refusal> {
    let (signal, is_grpc) = route.ok_or(Refusal::UNKNOWN)?;
    if parts.method != http::Method::POST {
        return Err(Refusal::UNSUPPORTED);
    }
    let message = request::unpack(&parts.headers, body, is_grpc)?;
    Ok((signal, request::decode(signal, message.clone())?, message))
}
