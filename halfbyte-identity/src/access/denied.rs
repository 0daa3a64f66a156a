use std::fmt;
use std::time::Duration;

use halfbyte_core::{BoxError, Problem};
#[cfg(feature = "axum")]
use halfbyte_core::{TraceId, problem::Context};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::decision::Decision;

/// Why something may not be done.
///
/// With the feature `axum` a handler returns it, so that `?` refuses as a layer does, from the one table:
///
/// ```
/// use halfbyte_identity::access::{Action, Checks, Denied, Entity};
///
/// const PRINT_LABEL: Action = Action::new("PrintLabel");
///
/// async fn print(checks: Checks) -> Result<String, Denied> {
///     let label = Entity::new("Label", "l-1").of_tenant(checks.principal().tenant());
///     checks.check(PRINT_LABEL, &label).await?;
///     Ok("printed".to_owned())
/// }
/// # #[cfg(feature = "axum")]
/// # fn example(access: &halfbyte_identity::access::Access) -> axum::Router {
/// // The layer around it gives the handler its `Checks`, and its refusals the id of the request; a gRPC call gets a status.
/// axum::Router::new().route("/print", axum::routing::post(print)).route_layer(access.authorize(Action::new("Print")))
/// # }
/// ```
///
/// A handler or a layer inside that makes something else of it, of another status, type or length, or encoded, has the last word: that is
/// sent as it is.
///
/// A handler with errors of its own as well takes a [`Context`](halfbyte_core::problem::Context) as an argument and refuses by
/// `denied.problem().refuse(&context)`, or turns all of them into a [`Problem`] first.
#[derive(Debug)]
#[non_exhaustive]
pub enum Denied {
    /// Policies say no, or one of them could not be evaluated; or what is asked for is not there.
    Forbidden(Decision),
    /// There are no policies, or the product's own provider failed.
    Unavailable {
        /// When it makes sense to ask again.
        retry_in: Duration,
        /// Why.
        source: BoxError,
    },
}

impl Denied {
    /// The refusal that a client sees: `forbidden` or `unavailable`. It does not say which policy, nor whether the thing is there.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Forbidden(_) => forbidden(),
            Self::Unavailable { retry_in, .. } => Problem::unavailable(*retry_in),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        denied.problem()
    }
}

/// What a handler has returned: the layer around it says it anew, with what it knows of the request. Not if somebody inside has made
/// something else of it, which was meant so.
#[derive(Clone)]
pub(super) struct Returned {
    problem: Problem,
    status: StatusCode,
    headers: [Option<HeaderValue>; 4],
}

/// The headers that change with what a response is. The length stands for the body: a [`Problem`] tells it.
fn telling() -> [HeaderName; 4] {
    [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, LOCATION]
}

impl Returned {
    #[cfg(feature = "axum")]
    fn new<B>(problem: Problem, response: &Response<B>) -> Self {
        let headers = telling().map(|name| response.headers().get(name).cloned());
        Self { problem, status: response.status(), headers }
    }

    /// The refusal that was meant, if `response` is still as it was written.
    pub(super) fn meant<B>(self, response: &Response<B>) -> Option<Problem> {
        let mut headers = telling().into_iter().zip(&self.headers);
        let is_same = headers.all(|(name, written)| response.headers().get_all(name).iter().eq(written));
        (is_same && response.status() == self.status).then_some(self.problem)
    }
}

/// The refusal. Without a layer of [`Access::authorize`](super::Access::authorize) around the handler it names no request id, and is
/// HTTP.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for Denied {
    fn into_response(self) -> axum_core::response::Response {
        let problem = self.problem();
        let context = Context { trace_id: TraceId::current(), ..Context::default() };
        let mut response = problem.refuse(&context);
        let returned = Returned::new(problem, &response);
        response.extensions_mut().insert(returned);
        response
    }
}

/// The one refusal for whatever is not permitted, so that none tells more than another.
pub(super) fn forbidden() -> Problem {
    Problem::forbidden("the policies of this service do not permit it")
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(_) => f.write_str("the policies do not permit it"),
            Self::Unavailable { .. } => f.write_str("it cannot be decided now"),
        }
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Forbidden(_) => None,
            Self::Unavailable { source, .. } => Some(&**source),
        }
    }
}
