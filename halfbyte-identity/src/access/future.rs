use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Principal, Problem, problem};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::action::Action;
use super::authorized::{AllGranted, Granted};
use super::denied::{Denied, Returned};
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
        Calling { #[pin] response: F, context: problem::Context },
    }
}

/// A request that is being decided on, and what it goes to afterwards.
pub(super) struct Waiting<S, B> {
    pub(super) principal: Principal,
    pub(super) action: Action,
    pub(super) request: Request<B>,
    pub(super) service: S,
}

impl<S: Service<Request<B>>, B> AuthorizeFuture<S, B> {
    pub(super) fn refused(problem: Problem, context: &problem::Context) -> Self {
        Self { state: State::Refused { refusal: Some((problem, *context)) } }
    }

    pub(super) fn deciding(decision: Deciding, waiting: Waiting<S, B>) -> Self {
        Self { state: State::Deciding { decision, waiting: Some(waiting) } }
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
                    let Waiting { principal, action, mut request, mut service } =
                        waiting.take().expect("polled after it was ready");
                    match outcome {
                        Ok(thing) => {
                            AllGranted::add(request.extensions_mut(), Granted { principal, action, thing });
                            let context = problem::Context::of(&request);
                            State::Calling { response: service.call(request), context }
                        }
                        Err(denied) => {
                            State::Refused { refusal: Some((denied.problem(), problem::Context::of(&request))) }
                        }
                    }
                }
                StateProjection::Calling { response, context } => {
                    return response.poll(cx).map_ok(|response| answered(response, context));
                }
            };
            state.set(next);
        }
    }
}

/// The response, or the refusal that the handler meant.
fn answered<B>(mut response: Response<B>, context: &problem::Context) -> Response<Refusable<B>> {
    let returned: Option<Returned> = response.extensions_mut().remove();
    let Some(problem) = returned.and_then(|returned| returned.meant(&response)) else {
        return response.map(Refusable::inner);
    };
    let mut refusal = problem.to_response(context);
    let own = refusal.headers().clone();
    // What layers inside have added stays, unless it is about the body that they saw.
    for (name, value) in response.headers() {
        if !own.contains_key(name) && !is_of_body(name) {
            refusal.headers_mut().append(name, value.clone());
        }
    }
    refusal
}

/// Whether a header says something of the body that it came with (RFC 9110, 8 and 6.6; RFC 9530), or of how that is sent.
fn is_of_body(name: &HeaderName) -> bool {
    // What a browser may do with the answer is no property of its body.
    let is_policy = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY].contains(name);
    let names = ["transfer-encoding", "etag", "last-modified", "accept-ranges", "trailer", "digest", "repr-digest"];
    (name.as_str().starts_with("content-") && !is_policy) || names.contains(&name.as_str())
}
