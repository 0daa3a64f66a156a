use std::fmt;

use aws_lc_rs::digest;
use uuid::Uuid;

/// What makes a use of a meter count once: 128 bits, within one tenant, product and meter.
///
/// Whatever a client sends as its `Idempotency-Key` makes one: it is hashed (SHA-256, the first half), so that any value
/// is a valid key and none takes more room than another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// The key for what a client sent.
    ///
    /// ```
    /// use halfbyte_billing::IdempotencyKey;
    ///
    /// assert_eq!(IdempotencyKey::of(b"order-1"), IdempotencyKey::of(b"order-1"));
    /// assert_ne!(IdempotencyKey::of(b"order-1"), IdempotencyKey::of(b"order-2"));
    /// ```
    pub fn of(sent: &[u8]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest::digest(&digest::SHA256, sent).as_ref()[..16]);
        Self(key)
    }

    /// A key that nothing else has, for a request that came without one: a UUID version 7, so that they sort by time.
    pub fn unique() -> Self {
        Self(Uuid::now_v7().into_bytes())
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
