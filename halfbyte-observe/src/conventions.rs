//! The words that server and client share, by the conventions.

use http::Version;

/// What stands for one of too many, or for what a client has made up.
pub(crate) const OTHER: &str = "_OTHER";

/// The longest text that is taken from a client as it is.
const LONGEST: usize = 256;

/// The methods that the conventions know; any other is the client's invention and could be one of many.
pub(crate) const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// `network.protocol.version`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http09,
    Http10,
    Http11,
    Http2,
    Http3,
    Other,
}

impl HttpVersion {
    pub(crate) fn of(version: Version) -> Self {
        match version {
            Version::HTTP_09 => Self::Http09,
            Version::HTTP_10 => Self::Http10,
            Version::HTTP_11 => Self::Http11,
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_3 => Self::Http3,
            _ => Self::Other,
        }
    }

    pub(crate) fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::Http09 => "0.9",
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
            Self::Other => return None,
        })
    }
}

pub(crate) fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
