use std::convert::Infallible;
use std::fmt;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::{Handler, HandlerService};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on_service};
use bytes::Bytes;
use halfbyte_core::BoxError;
use halfbyte_core::body::Unwrap;
use http::Method;
use tower::util::MapResponse;
use tower::{Layer, Service};

use crate::manifest::Route;
use crate::platform::Platform;
use crate::public::RouteGuard;

/// The routes of a product, each with what it asks of its callers, from [`Platform::routes`].
///
/// A thin layer over [`axum::Router`]: what is declared here stands in the manifest, where operators, the conformance suite and
/// deployments find it, and no route can be left without a guard by mistake: one for everybody says [`Public`](crate::Public).
///
/// ```no_run
/// use axum::extract::State;
/// use halfbyte::{Platform, Public, Routes};
///
/// # fn example(platform: &Platform) -> Result<Routes<&'static str>, halfbyte::Error> {
/// let may_write = platform.require(&["labels:write"]).feature("labels")?;
/// let routes = platform
///     .routes()
///     .with_state("a label")
///     .route("GET /", Public, async || "Parcel makes shipping labels")
///     .route("POST /labels", may_write, async |State(label): State<&'static str>| label);
/// # Ok(routes) }
/// ```
#[must_use = "routes do nothing before they are served"]
pub struct Routes<S = ()> {
    platform: Platform,
    state: S,
    router: Router,
}

impl Routes {
    pub(crate) fn new(platform: Platform) -> Self {
        Self { platform, state: (), router: Router::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Gives `state` to the handlers of the routes that follow.
    pub fn with_state<S2>(self, state: S2) -> Routes<S2> {
        Routes { platform: self.platform, state, router: self.router }
    }

    /// Adds a route: `METHOD /path`, with the path as axum has it, behind `guard`. `GET` answers `HEAD` as well.
    ///
    /// # Panics
    ///
    /// `route` is not of that form, its method is none that axum routes, or there is such a route already.
    pub fn route<H, T, G, B>(self, route: &str, guard: G, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        G: RouteGuard + Layer<HandlerService<H, T, S>>,
        G::Service: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        <G::Service as Service<Request>>::Future: Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unwrap<Innermost = Body> + Send + 'static,
    {
        let (method, path) = parts(route);
        self.platform.declared().add_route(Route::new(method.as_str(), path, guard.asks()));
        let filter = MethodFilter::try_from(method.clone())
            .unwrap_or_else(|_| panic!("{route:?}: {method} is no method that a route can have"));
        // The guard stands directly around the handler: a layer of axum's would box service, future and body once more.
        let service = guard.layer(handler.with_state(self.state.clone()));
        let service = MapResponse::new(service, |response: Response<B>| response.map(plain));
        Self { router: self.router.route(path, on_service(filter, service)), ..self }
    }

    /// Adds all methods of a gRPC service, such as one of tonic's, behind `guard`; `name` is its full name, `parcel.v1.Labels`.
    ///
    /// # Panics
    ///
    /// There is such a service already.
    pub fn grpc<V, G>(self, name: &str, guard: G, service: V) -> Self
    where
        G: RouteGuard + Layer<V>,
        G::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <G::Service as Service<Request>>::Response: IntoResponse,
        <G::Service as Service<Request>>::Future: Send + 'static,
    {
        let path = format!("/{name}/{{*method}}");
        self.platform.declared().add_route(Route::new("POST", &path, guard.asks()));
        Self { router: self.router.route_service(&path, guard.layer(service)), ..self }
    }
}

/// Most bodies are the handler's by the time they are sent: these are not boxed once more.
fn plain<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unwrap<Innermost = Body> + Send + 'static,
{
    body.unwrapped().unwrap_or_else(Body::new)
}

/// `METHOD /path`
fn parts(route: &str) -> (Method, &str) {
    let wrong = || panic!("{route:?} is not of the form \"GET /path\"");
    let Some((method, path)) = route.split_once(' ') else { wrong() };
    match method.parse() {
        Ok(method) if path.starts_with('/') && !path.contains(' ') => (method, path),
        _ => wrong(),
    }
}

/// For what axum offers besides: fallbacks, nesting, layers of the product's own. Routes that are added to it are not in the manifest.
impl<S> From<Routes<S>> for Router {
    fn from(routes: Routes<S>) -> Self {
        routes.router
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("product", self.platform.product()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_method_and_a_path() {
        assert_eq!(parts("GET /labels/{id}"), (Method::GET, "/labels/{id}"));
        for wrong in ["/labels", "GET", "GET labels", "GET  /labels", "GET /labels ", "G ET /", "", " /"] {
            assert!(std::panic::catch_unwind(|| parts(wrong)).is_err(), "{wrong:?} is taken");
        }
    }
}
