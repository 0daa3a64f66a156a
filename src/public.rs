//! What may stand around a route.

use tower::Layer;

use crate::asks::Asks;
use crate::guard::{FeatureGuard, Guard};

/// Says of a route that everybody may call it, with or without credentials; a bad credential is refused all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Public;

/// What stands around a route: [`Public`], a [`Guard`] or a [`FeatureGuard`].
pub trait RouteGuard: sealed::Sealed {
    /// What the manifest says of it.
    fn asks(&self) -> Asks;
}

impl<S> Layer<S> for Public {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        inner
    }
}

impl RouteGuard for Public {
    fn asks(&self) -> Asks {
        Asks { is_public: true, ..Asks::default() }
    }
}

impl<A> RouteGuard for Guard<A> {
    fn asks(&self) -> Asks {
        self.asks.clone()
    }
}

impl<A> RouteGuard for FeatureGuard<A> {
    fn asks(&self) -> Asks {
        self.asks.clone()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Public {}
    impl<A> Sealed for super::Guard<A> {}
    impl<A> Sealed for super::FeatureGuard<A> {}
}
