use std::io;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Lifecycle, PeerAddress};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{converse, protocols, told_to_close};
use super::transport::{Place, Transport};
use super::{Sendable, Servable, Tls};
use crate::bound::Listener;
use crate::contract::Limits;
use crate::progress::{Progress, StepKind};

/// Accepts until draining, then waits for what is in flight; answers how many connections had to be cut off.
pub(super) async fn until_drained<S: Servable<B>, B: Sendable>(
    life: &Lifecycle,
    progress: &Progress,
    limits: Limits,
    listener: Listener,
    tls: Option<Tls>,
    service: S,
) -> u64 {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (counted, cut) = (TaskTracker::new(), CancellationToken::new());
    // Upgraded connections are with their handlers, wherever these run: they end with this.
    let cuts = cut.clone().drop_guard();
    let protocols = protocols(life, &limits);
    let mut connections = JoinSet::new();
    let serve = |connections: &mut JoinSet<()>, stream: TcpStream, peer, permit| {
        prepare(&stream);
        let place = Place { _permit: permit, _counted: counted.token() };
        let (service, protocols, life, tls) = (service.clone(), protocols.clone(), life.clone(), tls.clone());
        let (opened, cut) = (Instant::now(), cut.child_token());
        connections.spawn(async move {
            let say_by = opened + limits.first_byte;
            let Some(tls) = tls else {
                let transport = Transport::new(stream, say_by, &limits, &cut, place);
                return converse(transport, peer, opened, life, limits, protocols, service).await;
            };
            let handshake = tokio::select! {
                handshake = timeout_at(say_by, tls.accept(stream)) => handshake,
                () = told_to_close(&life, opened) => return,
            };
            match handshake {
                Ok(Ok(stream)) => {
                    let transport = Transport::new(stream, say_by, &limits, &cut, place);
                    converse(transport, peer, opened, life, limits, protocols, service).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    };
    let draining = life.reached(Phase::Draining);
    tokio::pin!(draining);
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = &mut draining => break,
            Some(_ended) = connections.join_next() => {}
            accepted = next_connection(&listener.tcp, &permits) => match accepted {
                Ok((stream, peer, permit)) => {
                    failing = false;
                    serve(&mut connections, stream, peer, permit);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, mostly: old connections must end before new ones can come.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    let over = Instant::now() + limits.drain_in_flight;
    // Those that came before the door was closed get an answer; at a door that stays open, from who comes next.
    if listener.is_shared {
        drop(listener);
    } else {
        for (stream, peer, permit) in at_the_door(listener.tcp, &permits) {
            serve(&mut connections, stream, peer, permit);
        }
    }
    progress.enter(StepKind::InFlight, Some(limits.drain_in_flight));
    counted.close();
    let all = async {
        while connections.join_next().await.is_some() {}
        // Those that were upgraded.
        counted.wait().await;
    };
    let left = match timeout_at(over, all).await {
        Ok(()) => 0,
        Err(_elapsed) => counted.len().max(1) as u64,
    };
    if left > 0 {
        tracing::error!(left, budget = ?limits.drain_in_flight, "connections with requests in flight were cut off");
    }
    drop(cuts);
    left
}

/// Everybody who waits to be accepted, by the kernel's word: what the runtime knows may be older, and its budget ends after 64. Closes
/// the door.
fn at_the_door(listener: TcpListener, permits: &Arc<Semaphore>) -> Vec<(TcpStream, PeerAddress, OwnedSemaphorePermit)> {
    let mut waiting = Vec::new();
    let listener = match listener.into_std() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "who waited to be accepted is not answered");
            return waiting;
        }
    };
    while let Ok(permit) = permits.clone().try_acquire_owned() {
        match listener.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, PeerAddress(peer), permit))
        }) {
            Ok(connection) => waiting.push(connection),
            Err(error) if is_of_the_connection(&error) => {}
            Err(_nobody_is_left) => break,
        }
    }
    waiting
}

/// A place for a connection first, then the connection: the ones that there is no place for wait in the kernel.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, PeerAddress, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, PeerAddress(peer), permit))
}

/// Whether the client went away before it was accepted, which is no trouble of the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What the kernel takes of a response before it has been sent, in bytes. By default it is up to megabytes, of which a third must be gone
/// before it takes more: a client could read for a minute without being seen to.
#[cfg(target_os = "linux")]
const NOT_SENT: u32 = 64 * 1024;

fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection could not be told not to wait");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(NOT_SENT) {
        tracing::debug!(%error, "a connection could not be told to take little at once");
    }
}
