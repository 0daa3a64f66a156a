//! The status of a gRPC call, as server and client tell it by the conventions.

use http::{HeaderMap, HeaderName, StatusCode};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u8);

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Code {
    const UNKNOWN: Self = Self(2);

    /// From trailers, or from the headers of a response that has nothing but trailers.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(&STATUS)?.to_str().ok();
        Some(text.and_then(|text| text.parse().ok()).map_or(Self::UNKNOWN, Self::numbered))
    }

    /// What a client makes of a response that ends without a status, by gRPC's table for that.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        Self(match status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    }

    /// One that gRPC does not know is `UNKNOWN`.
    pub(crate) fn numbered(number: i32) -> Self {
        u8::try_from(number).ok().filter(|number| usize::from(*number) < NAMES.len()).map_or(Self::UNKNOWN, Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }

    /// Whether it is the server's fault.
    pub(crate) fn is_server_error(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    }

    /// Whether only a method that there is answers so. The others may come from what stands in front of all methods:
    /// authentication, limits, or nothing at all.
    pub(crate) fn proves_the_method(self) -> bool {
        matches!(
            self.name(),
            "OK" | "INVALID_ARGUMENT"
                | "NOT_FOUND"
                | "ALREADY_EXISTS"
                | "FAILED_PRECONDITION"
                | "ABORTED"
                | "OUT_OF_RANGE"
                | "DATA_LOSS"
        )
    }
}

/// Whether it is `package.Service/Method`.
pub(crate) fn is_method(text: &str) -> bool {
    let names = text.split_once('/');
    names.is_some_and(|(service, method)| !service.is_empty() && !method.is_empty() && !method.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        for (text, expected) in
            [("0", "OK"), ("5", "NOT_FOUND"), ("16", "UNAUTHENTICATED"), ("17", "UNKNOWN"), ("x", "UNKNOWN")]
        {
            let headers = HeaderMap::from_iter([(STATUS.clone(), text.parse().unwrap())]);
            assert_eq!(Code::of(&headers).map(Code::name), Some(expected), "{text}");
        }
        assert_eq!(Code::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_method_has_a_service_and_a_name() {
        assert!(is_method("pkg.Service/Do"));
        for text in ["", "/", "Do", "/Do", "pkg.Service/", "a/b/c", "/pkg.Service/Do"] {
            assert!(!is_method(text), "{text}");
        }
    }
}
