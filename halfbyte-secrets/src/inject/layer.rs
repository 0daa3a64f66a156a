use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use secrecy::zeroize::Zeroize;
use tower_layer::Layer;

use super::injector::Injector;
use super::{Format, Hosts, Inject, Once, Repeat};
use crate::Secret;

/// Adds a secret to the requests for its hosts; see the [module](super). Clones share the header that is made.
pub struct InjectLayer<T: Zeroize = String, M = Repeat> {
    injector: Arc<Injector<T>>,
    mode: PhantomData<fn() -> M>,
}

impl<T: Zeroize> InjectLayer<T> {
    /// Adds `secret` as a [bearer token](Format::bearer) to the requests for `hosts`. It is text, bytes, or a type of yours that
    /// is `AsRef<[u8]>`.
    pub fn new(secret: Secret<T>, hosts: Hosts) -> Self {
        Self { injector: Arc::new(Injector::new(secret, hosts)), mode: PhantomData }
    }
}

impl<T: Zeroize, M> InjectLayer<T, M> {
    /// Adds it in another way.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.change(|injector| injector.format = format);
        self
    }

    /// Adds it to requests by plain `http` as well, to the same hosts: whoever is on the way can read it. For tests, and
    /// for a proxy on this machine.
    #[must_use]
    pub fn danger_allow_plaintext(mut self) -> Self {
        self.change(|injector| injector.allow_plaintext = true);
        self
    }

    /// Does not send a request again, so that its body need not be [`Clone`]. A 401 still rejects the value, and is answered when
    /// another one is there, or after two seconds.
    #[must_use]
    pub fn once(self) -> InjectLayer<T, Once> {
        InjectLayer { injector: self.injector, mode: PhantomData }
    }

    fn change(&mut self, change: impl FnOnce(&mut Injector<T>)) {
        let mut injector = self.injector.fresh();
        change(&mut injector);
        self.injector = Arc::new(injector);
    }
}

impl<S, T: Zeroize, M> Layer<S> for InjectLayer<T, M> {
    type Service = Inject<S, T, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Inject { inner, injector: self.injector.clone(), mode: PhantomData }
    }
}

impl<T: Zeroize, M> Clone for InjectLayer<T, M> {
    fn clone(&self) -> Self {
        Self { injector: self.injector.clone(), mode: PhantomData }
    }
}

impl<T: Zeroize, M> fmt::Debug for InjectLayer<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InjectLayer").field(&self.injector).finish()
    }
}
