use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use halfbyte_core::body::Refusable;
use halfbyte_core::{CallerSlot, Principal, Problem, problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

type Verification = Pin<Box<dyn Future<Output = Result<Principal, Problem>> + Send>>;

pin_project! {
    /// The future of [`Authenticate`](super::Authenticate). Dropping it drops the request; a fetch of keys goes on for
    /// others.
    pub struct AuthenticateFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F> {
        Refused { refusal: Option<Refusal> },
        Verifying { verification: Verification, waiting: Option<(Request<B>, S)>, metadata: Arc<str> },
        Calling { #[pin] response: F },
    }
}

struct Refusal(Problem, problem::Context);

/// Tells the layers further in who calls, and those outside that ask.
pub(super) fn announce<B>(request: &mut Request<B>, principal: Principal) {
    if let Some(slot) = request.extensions().get::<CallerSlot>() {
        slot.tell(&principal);
    }
    request.extensions_mut().insert(principal);
}

impl<S: Service<Request<B>>, B> AuthenticateFuture<S, B> {
    pub(super) fn refused(problem: Problem, context: &problem::Context) -> Self {
        Self { state: State::Refused { refusal: Some(Refusal(problem, *context)) } }
    }

    pub(super) fn calling(response: S::Future) -> Self {
        Self { state: State::Calling { response } }
    }

    pub(super) fn verifying(verification: Verification, request: Request<B>, service: S, metadata: Arc<str>) -> Self {
        Self { state: State::Verifying { verification, waiting: Some((request, service)), metadata } }
    }
}

impl<S, ReqBody, ResBody> Future for AuthenticateFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<Refusable<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Refused { refusal } => {
                    let Refusal(problem, context) = refusal.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(problem.to_response(&context)));
                }
                StateProjection::Verifying { verification, waiting, metadata } => {
                    let outcome = ready!(verification.as_mut().poll(cx));
                    let (mut request, mut service) = waiting.take().expect("polled after it was ready");
                    match outcome {
                        Ok(principal) => {
                            announce(&mut request, principal);
                            State::Calling { response: service.call(request) }
                        }
                        Err(problem) => {
                            let context = problem::Context::of(&request);
                            let problem = problem.resource_metadata(&**metadata);
                            State::Refused { refusal: Some(Refusal(problem, context)) }
                        }
                    }
                }
                StateProjection::Calling { response } => {
                    return response.poll(cx).map_ok(|response| response.map(Refusable::inner));
                }
            };
            state.set(next);
        }
    }
}

pin_project! {
    /// The future of [`Require`](super::Require).
    pub struct RequireFuture<F> {
        #[pin]
        state: RequireState<F>,
    }
}

pin_project! {
    #[project = RequireProjection]
    enum RequireState<F> {
        Refused { refusal: Option<Refusal> },
        Calling { #[pin] response: F },
    }
}

impl<F> RequireFuture<F> {
    pub(super) fn refused(problem: Problem, context: &problem::Context) -> Self {
        Self { state: RequireState::Refused { refusal: Some(Refusal(problem, *context)) } }
    }

    pub(super) fn calling(response: F) -> Self {
        Self { state: RequireState::Calling { response } }
    }
}

impl<F, B, E> Future for RequireFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            RequireProjection::Refused { refusal } => {
                let Refusal(problem, context) = refusal.take().expect("polled after it was ready");
                Poll::Ready(Ok(problem.to_response(&context)))
            }
            RequireProjection::Calling { response } => {
                response.poll(cx).map_ok(|response| response.map(Refusable::inner))
            }
        }
    }
}
