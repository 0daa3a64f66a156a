//! What is known of a request before it is answered, small enough to be kept until its end.

use std::num::NonZeroU32;
use std::sync::Arc;

use halfbyte_core::problem::is_grpc;
use http::{Method, Request, Uri, Version};

use super::instruments::Instruments;
use super::route;
use crate::conventions::{HttpVersion, clipped};
use crate::grpc;

#[derive(Debug)]
pub(super) struct Facts {
    /// The place among the methods that are known; behind the last one if it is none of them.
    pub(super) method: u8,
    pub(super) scheme: Scheme,
    pub(super) version: HttpVersion,
    /// Whether its answer has no content, whatever its headers say.
    pub(super) is_head: bool,
    pub(super) target: Target,
}

/// What was asked for: a route, or a method of gRPC.
#[derive(Debug)]
pub(super) enum Target {
    NoRoute,
    /// By its number.
    Route(NonZeroU32),
    /// One of so many that it makes no series of its own.
    TooMany(Arc<str>),
    /// A method of gRPC that is known, by its number.
    Method(NonZeroU32),
    /// One that a client may have made up, and the number of the route that it has if it is no call at all.
    Original(Arc<str>, Option<NonZeroU32>),
}

impl Facts {
    pub(super) fn of<B>(request: &Request<B>, instruments: &Instruments, scheme: Option<Scheme>) -> Self {
        // It needs HTTP/2, so most requests need not be looked at.
        let path = request.uri().path();
        let target = if request.version() >= Version::HTTP_2
            && request.method() == Method::POST
            && is_grpc(request.headers())
            && path.strip_prefix('/').is_some_and(grpc::is_method)
        {
            Target::of_call(path, route::of(request), instruments)
        } else {
            route::of(request).map_or(Target::NoRoute, |route| Target::of_route(route, instruments))
        };
        Self {
            method: instruments.method(request.method()),
            scheme: scheme.unwrap_or_else(|| Scheme::of(request.uri())),
            version: HttpVersion::of(request.version()),
            is_head: request.method() == Method::HEAD,
            target,
        }
    }

    /// Whether it is a call of gRPC.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.target, Target::Method(_) | Target::Original(..))
    }
}

impl Target {
    fn of_call(path: &str, route: Option<&str>, instruments: &Instruments) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        match instruments.rpc_methods.find(name) {
            Some(number) => Self::Method(number),
            None => Self::Original(clipped(name).into(), route.and_then(|route| instruments.intern_route(route))),
        }
    }

    pub(super) fn of_route(route: &str, instruments: &Instruments) -> Self {
        instruments.intern_route(route).map_or_else(|| Self::TooMany(route.into()), Self::Route)
    }
}

/// `url.scheme`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn of(uri: &Uri) -> Self {
        if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Self::Https } else { Self::Http }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else {
            name.eq_ignore_ascii_case("http").then_some(Self::Http)
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
