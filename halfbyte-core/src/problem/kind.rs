use http::StatusCode;

/// The rows of the table of refusals. What a row looks like to a client is fixed in `CONTRACT.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// No credentials.
    Unauthenticated,
    /// Bad, expired, foreign or revoked credential.
    InvalidToken,
    /// Stronger sign-in needed.
    StepUpRequired,
    /// Scope missing.
    InsufficientScope,
    /// Policy says no.
    Forbidden,
    /// Feature not in the plan.
    NotEntitled,
    /// Past due or out of credit.
    PaymentRequired,
    /// Quota used up.
    QuotaExhausted,
    /// Keys, policies or store cannot be reached and no good copy is left.
    Unavailable,
    /// Overloaded.
    Overloaded,
    /// Draining.
    Draining,
    /// Deadline passed.
    DeadlineExceeded,
    /// Panic.
    Internal,
}

/// One row as a client sees it.
struct Row {
    kind: Kind,
    status: StatusCode,
    urn: &'static str,
    title: &'static str,
    grpc: u8,
}

const fn row(kind: Kind, status: StatusCode, urn: &'static str, title: &'static str, grpc: u8) -> Row {
    Row { kind, status, urn, title, grpc }
}

const PREFIX: &str = "urn:halfbyte:problem:";

#[rustfmt::skip]
const TABLE: [Row; 13] = [
    row(Kind::Unauthenticated,   StatusCode::UNAUTHORIZED,          "urn:halfbyte:problem:unauthenticated",    "Credentials needed",       16),
    row(Kind::InvalidToken,      StatusCode::UNAUTHORIZED,          "urn:halfbyte:problem:invalid-token",      "Credentials not accepted", 16),
    row(Kind::StepUpRequired,    StatusCode::UNAUTHORIZED,          "urn:halfbyte:problem:step-up-required",   "Stronger sign-in needed",  16),
    row(Kind::InsufficientScope, StatusCode::FORBIDDEN,             "urn:halfbyte:problem:insufficient-scope", "Scope missing",             7),
    row(Kind::Forbidden,         StatusCode::FORBIDDEN,             "urn:halfbyte:problem:forbidden",          "Not allowed",               7),
    row(Kind::NotEntitled,       StatusCode::FORBIDDEN,             "urn:halfbyte:problem:not-entitled",       "Not in the plan",           7),
    row(Kind::PaymentRequired,   StatusCode::PAYMENT_REQUIRED,      "urn:halfbyte:problem:payment-required",   "Payment needed",            9),
    row(Kind::QuotaExhausted,    StatusCode::TOO_MANY_REQUESTS,     "urn:halfbyte:problem:quota-exhausted",    "Quota used up",             8),
    row(Kind::Unavailable,       StatusCode::SERVICE_UNAVAILABLE,   "urn:halfbyte:problem:unavailable",        "Not available",            14),
    row(Kind::Overloaded,        StatusCode::SERVICE_UNAVAILABLE,   "urn:halfbyte:problem:overloaded",         "Overloaded",               14),
    row(Kind::Draining,          StatusCode::SERVICE_UNAVAILABLE,   "urn:halfbyte:problem:draining",           "About to stop",            14),
    row(Kind::DeadlineExceeded,  StatusCode::GATEWAY_TIMEOUT,       "urn:halfbyte:problem:deadline-exceeded",  "Took too long",             4),
    row(Kind::Internal,          StatusCode::INTERNAL_SERVER_ERROR, "urn:halfbyte:problem:internal",           "Unexpected error",         13),
];

impl Kind {
    /// All rows, in the order of the table.
    pub fn all() -> impl Iterator<Item = Kind> {
        TABLE.iter().map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// The problem `type`.
    pub fn urn(self) -> &'static str {
        self.row().urn
    }

    /// The last part of the [`urn`](Self::urn), as telemetry shows it.
    pub fn slug(self) -> &'static str {
        &self.row().urn[PREFIX.len()..]
    }

    /// The problem `title`.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// The gRPC status code.
    pub fn grpc_code(self) -> u8 {
        self.row().grpc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_finds_its_own_row() {
        assert_eq!(Kind::all().count(), TABLE.len());
        for (index, kind) in Kind::all().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?} stands in the wrong row");
            assert!(kind.urn().starts_with(PREFIX), "{kind:?}");
            assert!(!kind.slug().is_empty());
        }
    }
}
