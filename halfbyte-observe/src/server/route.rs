use std::sync::Arc;

use http::Request;

/// Which route a request was matched to, as `http.route`: `/labels/{id}`, never the path itself.
///
/// Of axum's routes it is known. Another router puts it into the request's extensions before the
/// [`ServerLayer`](super::ServerLayer) sees it, or into the response's if it runs further in.
///
/// ```
/// # use halfbyte_observe::Route;
/// # use http::Response;
/// let mut response = Response::new("a label");
/// response.extensions_mut().insert(Route::new("/labels/{id}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route(Arc<str>);

impl Route {
    /// A route by its template. What varies from request to request must not be in it.
    pub fn new(template: impl Into<Arc<str>>) -> Self {
        Self(template.into())
    }

    /// The template.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn of<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get::<Route>().map(Route::as_str).or_else(|| matched(request))
}

#[cfg(feature = "axum")]
fn matched<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn matched<B>(_request: &Request<B>) -> Option<&str> {
    None
}
