use std::time::Duration;

use halfbyte_core::Problem;

use super::ALGORITHMS;
use super::nonce::Nonce;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Missing,
    Several,
    /// It is not a proof in the form of RFC 9449, 4.2, and why.
    Form(&'static str),
    /// Its key cannot be used, and why: for the log.
    Key(&'static str),
    OtherKey,
    Method,
    Target,
    Time,
    Token,
    Nonce,
    Signature,
    Used,
    /// No more proofs can be remembered before that time is over.
    Full(Duration),
}

impl Fault {
    /// What the caller is told: nothing that he could not see by himself in the request that he made.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Fault::Missing => "the access token is bound to a key: send a proof of it in the header DPoP",
            Fault::Several => "there is more than one header DPoP",
            Fault::Form(detail) => detail,
            Fault::Key(_) => "the jwk of the DPoP proof is not a public key that can be used here",
            Fault::OtherKey => "the DPoP proof is made with another key than the access token is bound to",
            Fault::Method => "the htm of the DPoP proof is not the method of this request",
            Fault::Target => "the htu of the DPoP proof is not the address of this request",
            Fault::Time => "the DPoP proof was not made within the last minute: make one for each request",
            Fault::Token => "the ath of the DPoP proof is not the hash of this access token",
            Fault::Nonce => "the nonce of the DPoP proof is missing or too old",
            Fault::Signature => "the DPoP proof is not valid",
            Fault::Used => "the DPoP proof was used before: make one for each request",
            Fault::Full(_) => "too many DPoP proofs are in use",
        }
    }

    /// The refusal. `nonce` makes the one that the client is to use.
    pub(super) fn problem(self, nonce: impl FnOnce() -> Nonce) -> Problem {
        let reason = match self {
            Fault::Key(reason) => reason,
            _ => self.detail(),
        };
        tracing::debug!(reason, "a DPoP proof is refused");
        match self {
            Fault::Nonce => Problem::use_dpop_nonce(nonce().as_str()),
            Fault::Full(retry_after) => Problem::unavailable(retry_after),
            _ => Problem::invalid_dpop_proof(self.detail()),
        }
        .dpop(ALGORITHMS)
    }
}
