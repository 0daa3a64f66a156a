//! From verified claims to a principal: RFC 7519 and RFC 9068, without a clock and without I/O.

mod access_token;
mod actor;
mod claim;
mod confirmation;
mod form;
mod issuer;
mod reader;
mod roles;
mod rules;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bounds;
#[cfg(test)]
mod tests_introspected;
#[cfg(test)]
mod tests_presets;
#[cfg(test)]
mod tests_properties;

use std::fmt;

use halfbyte_core::Principal;
use jiff::SignedDuration;

pub(crate) use self::reader::unverified_issuer;
pub(crate) use self::rules::Rules;
use crate::binding::Binding;

/// How far clocks of issuer and product may be apart, in seconds.
pub(crate) const LEEWAY: i64 = 30;

/// The same as a duration.
pub(crate) const LEEWAY_SPAN: SignedDuration = SignedDuration::from_secs(LEEWAY);

/// Whom a credential speaks of, and what it is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) principal: Principal,
    pub(crate) binding: Option<Binding>,
}

/// Why claims are refused, in words that a caller may read: he could read the token himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotAnAccessToken,
    Bound,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Malformed,
}

impl Fault {
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Fault::NotAnAccessToken => "this is a token of another kind; send an access token",
            Fault::Bound => "the access token is bound in a way that this service cannot check",
            Fault::Issuer => "the issuer of the access token is not accepted here",
            Fault::Audience => "the access token is meant for another service",
            Fault::Expired => "the access token has expired",
            Fault::NotYet => "the access token is not valid yet",
            Fault::Malformed => "the access token is not valid",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}
