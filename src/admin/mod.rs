//! The listener for operators and probes, which answers through the whole of a drain.

mod answer;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::platform::Platform;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 128;

/// How old a connection becomes, and how long it may go on with its last answer: one that is not read is not kept.
const OLDEST: Duration = Duration::from_secs(300);
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Serves the admin listener until it is dropped.
pub(crate) async fn serve(platform: Platform, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _peer)) => _ = connections.spawn(connection(platform.clone(), stream)),
                Err(error) => {
                    tracing::warn!(%error, "an admin connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(platform: Platform, stream: TcpStream) {
    let first_byte = platform.limits().first_byte;
    let service = service_fn(|request| {
        let platform = platform.clone();
        async move { Ok::<_, Infallible>(answer::to(&platform, &request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(first_byte);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = sleep(OLDEST) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended");
    }
}
