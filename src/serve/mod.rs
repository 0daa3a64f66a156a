//! The listeners and their connections, from ready to closed.

mod accept;
mod activity;
mod connection;
mod request_body;
mod sent;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::lifecycle::{Check, Phase};
use halfbyte_core::{BoxError, Lifecycle};
use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

pub use self::request_body::RequestBody;
pub(crate) use self::tls::Tls;
use crate::error::{Error, ErrorKind};
use crate::notify::Supervisor;
use crate::platform::{Held, Platform};
use crate::progress::StepKind;
use crate::signals::Signals;
use crate::{admin, drain};

/// A service that can be put behind a listener.
pub trait Servable<B>:
    Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S, B> Servable<B> for S where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// A body that can be sent.
pub trait Sendable: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> Sendable for B where B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

pub(crate) async fn run<S: Servable<B>, B: Sendable>(platform: &Platform, service: S) -> Result<(), Error> {
    // Whoever has made the routes has said by now all that they ask.
    let actions = platform.declared().actions();
    platform.policies().check(&actions)?;
    let Some(Held { telemetry, public, admin, tls }) = platform.take_held() else {
        return Err(Error::new(ErrorKind::Unavailable, "the platform serves once; it has been served before"));
    };
    let (life, progress) = (platform.lifecycle(), platform.progress());
    let supervisor = Supervisor::of(&platform.config().other);
    let mut background = JoinSet::new();
    background.spawn(platform.policies().clone().watch(actions));
    background.spawn(admin::serve(platform.clone(), admin.listen()?.tcp));
    background.spawn(drain::conduct_or_exit(
        life.clone(),
        progress.clone(),
        Signals::listen()?,
        platform.config().lame_duck,
        supervisor.clone(),
    ));

    let limits = platform.limits();
    warm_up(life, limits.warm_up).await;
    // One that was told to stop meanwhile lets nobody in.
    let cut = if life.phase() == Phase::Starting {
        let public = public.listen()?;
        if progress.enter(StepKind::Ready, None) {
            supervisor.ready();
            tracing::info!(product = platform.product().as_str(), public = %platform.address(), admin = %platform.admin_address(), "ready");
        }
        accept::until_drained(life, progress, limits, public, tls, service).await
    } else {
        life.reached(Phase::Draining).await;
        0
    };
    let flushed = drain::flush(platform, &limits, telemetry, cut).await;
    background.shutdown().await;
    match (cut, flushed) {
        (0, true) => Ok(()),
        (0, false) => Err(Error::new(ErrorKind::Drain, "not everything could be written out in time")),
        _ => Err(Error::new(ErrorKind::Drain, "requests were still running when their time was up")),
    }
}

/// Waits until every part is there or has failed once: a process whose backend is away serves without it, and one that is
/// merely young does not refuse its first requests.
async fn warm_up(life: &Lifecycle, budget: Duration) {
    let settled = |check: &Check| check.ready || check.detail.is_some();
    let all = async {
        while !life.health().report().iter().all(settled) && life.phase() == Phase::Starting {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if timeout(budget, all).await.is_err() {
        tracing::warn!(?budget, "some parts have not answered yet; serving without them");
    }
}
