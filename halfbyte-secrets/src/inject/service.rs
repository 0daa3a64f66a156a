use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::BoxError;
use secrecy::zeroize::Zeroize;
use tower_service::Service;

use super::future::{Again, State};
use super::injector::Injector;
use super::{Inbound, InjectFuture, Mode, Outbound, Repeat};

/// The service that [`InjectLayer`](super::InjectLayer) makes.
pub struct Inject<S, T: Zeroize = String, M = Repeat> {
    pub(super) inner: S,
    pub(super) injector: Arc<Injector<T>>,
    pub(super) mode: PhantomData<fn() -> M>,
}

impl<S, R, T, M> Service<R> for Inject<S, T, M>
where
    S: Service<R, Response: Inbound, Error: Into<BoxError>> + Clone,
    R: Outbound,
    T: AsRef<[u8]> + Zeroize + Send + Sync + 'static,
    M: Mode<R>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = InjectFuture<S, R, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let injector = &self.injector;
        if !injector.may_have(&request) {
            injector.strip(request.headers_mut());
            return InjectFuture { state: State::Calling { call: self.inner.call(request) }, again: None };
        }
        let (generation, value) = match injector.current() {
            Ok(current) => current,
            Err(error) => return InjectFuture { state: State::Failed { error: Some(error) }, again: None },
        };
        // The one that is ready is the one that is called; the clone is ready when it says so.
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        // Before the header is there: it is of no use in the copy.
        let copy = M::copy(&request);
        request.headers_mut().insert(&injector.format.name, value);
        let call = service.call(request);
        let again = Again { service, copy, generation, injector: injector.clone(), is_repeated: false };
        InjectFuture { state: State::Calling { call }, again: Some(again) }
    }
}

impl<S: Clone, T: Zeroize, M> Clone for Inject<S, T, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), injector: self.injector.clone(), mode: PhantomData }
    }
}

impl<S: fmt::Debug, T: Zeroize, M> fmt::Debug for Inject<S, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inject").field("inner", &self.inner).field("injector", &self.injector).finish_non_exhaustive()
    }
}
