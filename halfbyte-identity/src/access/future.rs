use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::action::Action;
use super::authorized::{AllGranted, Granted};
use super::denied::Denied;
use super::entity::Entity;

type Deciding = Pin<Box<dyn Future<Output = Result<Arc<Entity>, Denied>> + Send>>;

pin_project! {
    /// The future of [`Authorize`](super::Authorize). Dropping it drops the request, and gives up what is asked of the provider.
    pub struct AuthorizeFuture<S, B>
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
        Refused { refusal: Option<(Problem, problem::Context)> },
        Deciding { decision: Deciding, waiting: Option<Waiting<S, B>> },
        Calling { #[pin] response: F },
    }
}

/// A request that is being decided on, and what it goes to afterwards.
struct Waiting<S, B> {
    action: Action,
    request: Request<B>,
    service: S,
}

impl<S: Service<Request<B>>, B> AuthorizeFuture<S, B> {
    pub(super) fn refused(problem: Problem, context: &problem::Context) -> Self {
        Self { state: State::Refused { refusal: Some((problem, *context)) } }
    }

    pub(super) fn deciding(decision: Deciding, action: Action, request: Request<B>, service: S) -> Self {
        Self { state: State::Deciding { decision, waiting: Some(Waiting { action, request, service }) } }
    }
}

impl<S, ReqBody, ResBody> Future for AuthorizeFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<Refusable<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Refused { refusal } => {
                    let (problem, context) = refusal.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(problem.to_response(&context)));
                }
                StateProjection::Deciding { decision, waiting } => {
                    let outcome = ready!(decision.as_mut().poll(cx));
                    let Waiting { action, mut request, mut service } =
                        waiting.take().expect("polled after it was ready");
                    match outcome {
                        Ok(thing) => {
                            AllGranted::add(request.extensions_mut(), Granted { action, thing });
                            State::Calling { response: service.call(request) }
                        }
                        Err(denied) => {
                            State::Refused { refusal: Some((denied.problem(), problem::Context::of(&request))) }
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
