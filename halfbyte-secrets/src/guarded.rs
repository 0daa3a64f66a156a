//! A value that is published: wiped when nobody has it any more, and known to the leak firewall until then.

use halfbyte_core::fingerprint::{Fingerprint, register};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretBox};

use crate::FromSecret;

pub(crate) struct Guarded<T: Zeroize> {
    value: SecretBox<T>,
    _known: Box<[Fingerprint]>,
}

impl<T: FromSecret> Guarded<T> {
    /// `value`, which was made of `bytes`.
    pub(crate) fn new(value: T, bytes: &[u8]) -> Self {
        let mut known = Vec::new();
        T::secret_parts(bytes, &mut |part| known.push(register(part)));
        Self { value: SecretBox::new(Box::new(value)), _known: known.into() }
    }
}

impl<T: Zeroize> ExposeSecret<T> for Guarded<T> {
    #[inline]
    fn expose_secret(&self) -> &T {
        self.value.expose_secret()
    }
}
