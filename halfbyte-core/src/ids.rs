//! The names that the layers hand each other. Each is checked once, where it is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use opentelemetry::trace::TraceContextExt as _;
use serde::{Deserialize, Serialize};

/// A name does not have the form that its type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId {
    what: &'static str,
    rule: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid {}: {}", self.what, self.rule)
    }
}

impl std::error::Error for InvalidId {}

/// The customer on whose behalf a request is made and who pays for it: 1 to 255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks `id`.
    ///
    /// # Errors
    ///
    /// `id` is empty, longer than 255 bytes, or has a character that is not visible ASCII.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidId> {
        let id = id.as_ref();
        if (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidId { what: "tenant id", rule: "1 to 255 visible ASCII characters" })
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a product: a lower-case letter, then up to 62 lower-case letters, digits or hyphens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProductId(Arc<str>);

impl ProductId {
    /// Checks `id`.
    ///
    /// # Errors
    ///
    /// `id` does not start with a lower-case letter, is longer than 63 bytes, or has another character than lower-case
    /// letters, digits and hyphens.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidId> {
        let id = id.as_ref();
        let starts_well = id.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let goes_on_well = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts_well && goes_on_well && id.len() <= 63 {
            Ok(Self(id.into()))
        } else {
            Err(InvalidId { what: "product id", rule: "a lower-case letter, then up to 62 of a-z, 0-9 and '-'" })
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one request in logs, traces, refusals and the `x-request-id` header: 1 to 64 of `A-Z a-z 0-9 . _ -`.
///
/// Held inline, so that making and copying one does not allocate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    const MAX: usize = 64;

    /// A new id: a UUID version 7 (RFC 9562), so that ids sort by time.
    pub fn random() -> Self {
        let mut bytes = [0; Self::MAX];
        let len = uuid::Uuid::now_v7().as_hyphenated().encode_lower(&mut bytes).len();
        Self { bytes, len: u8::try_from(len).unwrap_or(0) }
    }

    /// Takes an id from elsewhere; `None` if it does not have the form.
    pub fn from_bytes(id: &[u8]) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&id.len());
        if !fits || !id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..id.len()].copy_from_slice(id);
        Some(Self { bytes, len: u8::try_from(id.len()).ok()? })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// The trace that a request belongs to, as 16 bytes (W3C trace context).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// The trace of the OpenTelemetry context that is current on this thread, if there is one.
    pub fn current() -> Option<Self> {
        let trace = opentelemetry::Context::map_current(|context| context.span().span_context().trace_id());
        (trace != opentelemetry::TraceId::INVALID).then(|| Self(trace.to_bytes()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl FromStr for ProductId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl TryFrom<String> for ProductId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl From<ProductId> for String {
    fn from(id: ProductId) -> Self {
        id.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_visible_ascii_of_bounded_length() {
        assert!(TenantId::new("acme").is_ok());
        for bad in ["", "a b", "a\n", "é", &"x".repeat(256)] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_product_is_a_dns_like_label() {
        assert!(ProductId::new("parcel-2").is_ok());
        for bad in ["", "2parcel", "Parcel", "par_cel", "-p", &"p".repeat(64)] {
            assert!(ProductId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_request_id_is_made_or_taken_and_never_holds_anything_else() {
        let made = RequestId::random();
        assert_eq!(made.as_str().len(), 36);
        assert_eq!(RequestId::from_bytes(made.as_str().as_bytes()), Some(made));
        for bad in ["", "a b", "a\r\nSet-Cookie:x", &"x".repeat(65)] {
            assert_eq!(RequestId::from_bytes(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
