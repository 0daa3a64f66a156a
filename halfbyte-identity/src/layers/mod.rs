//! Tower layers for any `http` service: who is calling, what a route asks for, and the documents that clients look for.

mod authenticate;
mod endpoints;
mod future;
mod oauth;
pub(crate) mod path;
mod require;

pub use self::authenticate::{Authenticate, AuthenticateLayer};
pub use self::endpoints::{AnsweredByLayer, Endpoints, EndpointsBody, EndpointsFuture, EndpointsLayer};
pub use self::future::{AuthenticateFuture, RequireFuture};
pub use self::require::{Require, RequireLayer};
