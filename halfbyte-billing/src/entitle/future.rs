use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::service::attach;
use super::{Gate, Pass};
use crate::Decision;

type Answer = Result<Pass, Decision>;

pin_project! {
    /// The response future of [`Entitle`](super::Entitle).
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, S::Future, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, ReqBody, ResBody> {
        Refused { response: Option<Box<Response<Refusable<ResBody>>>> },
        // Boxed: few requests wait, and the others should not carry the room for it.
        Asking { asking: Box<Asking<S, ReqBody>> },
        Inner { #[pin] future: F },
    }
}

struct Asking<S, ReqBody> {
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    gate: Arc<Gate>,
    request: Option<Request<ReqBody>>,
    service: S,
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn refused(problem: &Problem, context: &problem::Context) -> Self {
        Self { state: State::Refused { response: Some(Box::new(problem.to_response(context))) } }
    }

    pub(super) fn inner(future: S::Future) -> Self {
        Self { state: State::Inner { future } }
    }

    pub(super) fn asking(
        answer: impl Future<Output = Answer> + Send + 'static,
        gate: Arc<Gate>,
        request: Request<ReqBody>,
        service: S,
    ) -> Self {
        let asking = Asking { answer: Box::pin(answer), gate, request: Some(request), service };
        Self { state: State::Asking { asking: Box::new(asking) } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<Refusable<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future } => {
                    return future.poll(cx).map(|outcome| outcome.map(|response| response.map(Refusable::inner)));
                }
                StateProjection::Refused { response } => {
                    let response = response.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(*response));
                }
                StateProjection::Asking { asking } => {
                    let answer = ready!(asking.answer.as_mut().poll(cx));
                    let mut request = asking.request.take().expect("the answer comes once");
                    match answer {
                        Ok(pass) => {
                            attach(&mut request, &asking.gate, pass);
                            State::Inner { future: asking.service.call(request) }
                        }
                        Err(decision) => {
                            let problem = decision.to_problem(asking.gate.feature()).unwrap_or_else(Problem::internal);
                            let response = problem.to_response(&problem::Context::of(&request));
                            State::Refused { response: Some(Box::new(response)) }
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}
