//! A value that is published: wiped when nobody has it any more, and known to the leak firewall until then.

use halfbyte_core::fingerprint::{Fingerprint, register_all};
use secrecy::ExposeSecret;
use secrecy::zeroize::{Zeroize, Zeroizing};

use crate::FromSecret;

pub(crate) struct Guarded<T: Zeroize> {
    value: Zeroizing<T>,
    _known: Fingerprint,
}

impl<T: FromSecret> Guarded<T> {
    /// `value`, which was made of `bytes`.
    pub(crate) fn new(value: T, bytes: &[u8]) -> Self {
        let known = register_all(|part| T::secret_parts(bytes, part));
        Self { value: Zeroizing::new(value), _known: known }
    }
}

impl<T: Zeroize> ExposeSecret<T> for Guarded<T> {
    #[inline]
    fn expose_secret(&self) -> &T {
        &self.value
    }
}
