use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Caller, Principal, Problem, problem};
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::authenticator::{Authenticator, Proven, challenge};
use crate::binding::Binding;
use crate::credential::Credential;
use crate::dpop::DPOP_NONCE;

type Verification = Pin<Box<dyn Future<Output = Result<(Principal, Option<Binding>), Problem>> + Send>>;

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
        Verifying { verification: Verification, waiting: Option<Waiting<S, B>> },
        Calling { #[pin] response: F, nonce: Option<HeaderValue> },
    }
}

struct Refusal(Problem, problem::Context);

/// A request whose credential is looked at, and what it goes to afterwards.
struct Waiting<S, B> {
    request: Request<B>,
    service: S,
    authenticator: Authenticator,
    metadata: Arc<str>,
}

impl<S, B> Waiting<S, B> {
    /// Has the caller prove that the token is his own, where it is bound; a refusal is in the scheme that he used.
    fn conclude(&self, outcome: Result<(Principal, Option<Binding>), Problem>) -> Result<Proven, Problem> {
        let Credential { token, scheme, evidence } =
            Credential::of(&self.request)?.ok_or_else(Problem::unauthenticated)?;
        let bound = outcome.map_err(|problem| challenge(problem, scheme))?;
        self.authenticator.prove(bound, scheme, token, evidence)
    }
}

/// Tells the layers further in who calls, and those outside that ask.
pub(super) fn announce<B>(request: &mut Request<B>, principal: Principal) {
    Caller::tell(&principal);
    request.extensions_mut().insert(principal);
}

impl<S: Service<Request<B>>, B> AuthenticateFuture<S, B> {
    pub(super) fn refused(problem: Problem, context: &problem::Context) -> Self {
        Self { state: State::Refused { refusal: Some(Refusal(problem, *context)) } }
    }

    pub(super) fn calling(response: S::Future, nonce: Option<HeaderValue>) -> Self {
        Self { state: State::Calling { response, nonce } }
    }

    pub(super) fn verifying(
        verification: Verification,
        request: Request<B>,
        service: S,
        authenticator: Authenticator,
        metadata: Arc<str>,
    ) -> Self {
        let waiting = Some(Waiting { request, service, authenticator, metadata });
        Self { state: State::Verifying { verification, waiting } }
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
                StateProjection::Verifying { verification, waiting } => {
                    let outcome = ready!(verification.as_mut().poll(cx));
                    let waiting = waiting.take().expect("polled after it was ready");
                    let proven = waiting.conclude(outcome);
                    let Waiting { mut request, mut service, metadata, .. } = waiting;
                    match proven {
                        Ok((principal, nonce)) => {
                            announce(&mut request, principal);
                            State::Calling { response: service.call(request), nonce }
                        }
                        Err(problem) => {
                            let context = problem::Context::of(&request);
                            let problem = problem.resource_metadata(&*metadata);
                            State::Refused { refusal: Some(Refusal(problem, context)) }
                        }
                    }
                }
                StateProjection::Calling { response, nonce } => {
                    let mut response = ready!(response.poll(cx))?;
                    if let Some(nonce) = nonce.take() {
                        response.headers_mut().insert(DPOP_NONCE, nonce);
                    }
                    return Poll::Ready(Ok(response.map(Refusable::inner)));
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
