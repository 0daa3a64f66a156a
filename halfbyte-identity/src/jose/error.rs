use std::fmt;

/// Why a token was not verified, or a key not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is not a signed token in the form that is understood here.
    Malformed,
    /// It asks for something that is not allowed or not implemented here.
    NotAllowed,
    /// None of the keys is the one it names.
    UnknownKey,
    /// The signature does not fit.
    BadSignature,
    /// A secret that was configured as a key is none that may be used as one.
    BadKey,
}

/// A token was not verified, or a key not taken. The message is for the log and tests: never for the one who sent the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    reason: &'static str,
}

impl ErrorKind {
    pub(crate) const fn because(self, reason: &'static str) -> Error {
        Error { kind: self, reason }
    }
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Error {}
