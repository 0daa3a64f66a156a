use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::BoxError;
use http::{HeaderValue, StatusCode};
use pin_project_lite::pin_project;
use secrecy::zeroize::Zeroize;
use tokio::time::timeout;
use tower_service::Service;

use super::injector::Injector;
use super::{Inbound, Outbound};
use crate::Error;

/// How long an answer is held while the next value is asked for.
const PATIENCE: Duration = Duration::from_secs(2);

pin_project! {
    /// The response future of [`Inject`](super::Inject). Dropping it cancels the call.
    pub struct InjectFuture<S: Service<R>, R, T: Zeroize> {
        #[pin]
        pub(super) state: State<S::Future, S::Response>,
        // None for a request without the secret.
        pub(super) again: Option<Again<S, R, T>>,
    }
}

/// What it takes to send a request a second time.
pub(super) struct Again<S, R, T: Zeroize> {
    pub(super) service: S,
    pub(super) copy: Option<R>,
    pub(super) generation: u64,
    pub(super) injector: Arc<Injector<T>>,
    /// The call is the second one.
    pub(super) is_repeated: bool,
}

/// The next generation and its header, if there is one.
type Next = Pin<Box<dyn Future<Output = Option<(u64, HeaderValue)>> + Send>>;

pin_project! {
    #[project = StateProjection]
    pub(super) enum State<F, A> {
        Failed { error: Option<Error> },
        Calling { #[pin] call: F },
        // The value was not accepted, as the answer says: asking for another one.
        Rejecting { answer: Option<A>, next: Next },
        // Another one is there: waiting until the service is ready.
        Repeating { next: Option<(u64, HeaderValue)> },
    }
}

impl<S, R, T> Future for InjectFuture<S, R, T>
where
    S: Service<R, Response: Inbound, Error: Into<BoxError>>,
    R: Outbound,
    T: AsRef<[u8]> + Zeroize + Send + Sync + 'static,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Failed { error } => {
                    let error = error.take().expect("a future that is ready is not polled again");
                    return Poll::Ready(Err(error.into()));
                }
                StateProjection::Calling { call } => {
                    let answer = ready!(call.poll(cx)).map_err(Into::into)?;
                    match this.again {
                        Some(again) if answer.status() == StatusCode::UNAUTHORIZED && again.is_repeated => {
                            // Noted by the first poll: what took the place is no better, and nobody waits for what comes.
                            let _noted = again.next().as_mut().poll(cx);
                            return Poll::Ready(Ok(answer));
                        }
                        Some(again) if answer.status() == StatusCode::UNAUTHORIZED => {
                            State::Rejecting { answer: Some(answer), next: again.next() }
                        }
                        _ => return Poll::Ready(Ok(answer)),
                    }
                }
                StateProjection::Rejecting { answer, next } => match ready!(next.as_mut().poll(cx)) {
                    Some(next) if this.again.as_ref().is_some_and(|again| again.copy.is_some()) => {
                        // The answer is dropped with this state, before the request is sent again.
                        State::Repeating { next: Some(next) }
                    }
                    _ => return Poll::Ready(Ok(answer.take().expect("it was there"))),
                },
                StateProjection::Repeating { next } => {
                    let again = this.again.as_mut().expect("it is looked for above");
                    ready!(again.service.poll_ready(cx)).map_err(Into::into)?;
                    let mut request = again.copy.take().expect("it is looked for above");
                    let (generation, value) = next.take().expect("it is taken once");
                    (again.generation, again.is_repeated) = (generation, true);
                    request.headers_mut().insert(&again.injector.format.name, value);
                    State::Calling { call: again.service.call(request) }
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, R, T: AsRef<[u8]> + Zeroize + Send + Sync + 'static> Again<S, R, T> {
    /// Gives up after a while. The value is rejected by the first poll, and another one is fetched whether or not it is waited for.
    fn next(&self) -> Next {
        let (injector, generation) = (self.injector.clone(), self.generation);
        Box::pin(async move {
            let next = timeout(PATIENCE, injector.secret.reject(generation)).await.ok()?.ok()?;
            injector.of(&next).ok()
        })
    }
}
