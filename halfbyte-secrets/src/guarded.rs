//! A value that is published: wiped when nobody has it any more, and known to the leak firewall until then.

use std::sync::Arc;

use halfbyte_core::fingerprint::{Fingerprint, register_all};
use secrecy::ExposeSecret;
use secrecy::zeroize::{Zeroize, Zeroizing};

use crate::FromSecret;

pub(crate) struct Guarded<T: Zeroize> {
    value: Zeroizing<T>,
    _known: Fingerprint,
}

impl<T: FromSecret> Guarded<T> {
    /// `value`, which was made of `bytes`. In its place from the start: whoever moves bytes leaves a copy that nobody wipes.
    pub(crate) fn new(value: T, bytes: &[u8]) -> Arc<Self> {
        let known = register_all(|part| T::secret_parts(bytes, part));
        Arc::new(Self { value: Zeroizing::new(value), _known: known })
    }
}

impl<T: Zeroize> ExposeSecret<T> for Guarded<T> {
    #[inline]
    fn expose_secret(&self) -> &T {
        &self.value
    }
}
