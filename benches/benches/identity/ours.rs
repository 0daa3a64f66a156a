//! Our layer on an empty service.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Waker};

use futures_util::FutureExt as _;
use halfbyte::core::client::Client;
use halfbyte::core::config::IdentityBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::identity::{Identity, Settings};
use http::{Request, Response, StatusCode};
use tempfile::TempDir;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::issuer::Issuer;
use crate::{AUDIENCE, Subject};

#[derive(Clone)]
pub struct Ours {
    identity: Identity,
    _folder: Arc<TempDir>,
}

impl Ours {
    /// With the keys of the issuer at hand, as a product opens it.
    pub async fn open(issuer: &Issuer) -> Result<Self, Box<dyn Error>> {
        Self::set(issuer, |settings| settings).await
    }

    /// The same that remembers `most` tokens.
    pub async fn remembering(issuer: &Issuer, most: usize) -> Result<Self, Box<dyn Error>> {
        Self::set(issuer, |settings| settings.cached_tokens(most)).await
    }

    async fn set(issuer: &Issuer, change: impl FnOnce(Settings) -> Settings) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let issuers = vec![IdentityBackend::issuer(issuer.id.clone())];
        let home = Home::open(folder.path().join("home"))?;
        let settings = change(Settings::new(issuers, AUDIENCE, AUDIENCE.parse()?, home));
        let identity = Identity::open(settings, Client::new()?, &Lifecycle::new(Clock::system())).await?;
        identity.ready().await?;
        Ok(Self { identity, _folder: Arc::new(folder) })
    }

    pub fn subject(&self) -> Subject {
        let mut service = self.identity.authenticate().required().layer(service_fn(empty::<Response<()>>));
        Box::new(move |request| at_once(&mut service, request).status())
    }

    /// The same for a request that may have to wait.
    pub async fn answer(&self, request: Request<()>) -> StatusCode {
        let service = self.identity.authenticate().required().layer(service_fn(empty::<Response<()>>));
        service.oneshot(request).await.unwrap_or_else(|never| match never {}).status()
    }
}

/// The service alone.
pub fn empty_subject() -> Subject {
    let mut service = service_fn(empty::<Response<()>>);
    Box::new(move |request| at_once(&mut service, request).status())
}

pub fn empty<R: Default>(_request: Request<()>) -> Ready<Result<R, Infallible>> {
    ready(Ok(R::default()))
}

/// Polls by hand: there is nothing to wait for.
pub fn at_once<S>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<()>, Error = Infallible>,
{
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    let answer = service.call(request).now_or_never().expect("what is timed must not wait");
    answer.unwrap_or_else(|never| match never {})
}
