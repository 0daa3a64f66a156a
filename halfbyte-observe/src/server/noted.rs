use http::{HeaderMap, HeaderValue};

use crate::propagation::Carried;

/// What the start of every span needs of the headers of its request, found by going through them once.
pub(super) struct Noted<'a> {
    pub(super) carried: Carried<'a>,
    /// The first `Host`.
    pub(super) host: Option<&'a HeaderValue>,
    /// The first `User-Agent`.
    pub(super) agent: Option<&'a HeaderValue>,
}

impl<'a> Noted<'a> {
    /// For a request that nobody is going to see anything of.
    pub(super) fn nothing(headers: &'a HeaderMap) -> Self {
        Self { carried: Carried::within(headers), host: None, agent: None }
    }

    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut noted = Self::nothing(headers);
        for (name, value) in headers {
            match name.as_str() {
                "host" => noted.host = noted.host.or(Some(value)),
                "user-agent" => noted.agent = noted.agent.or(Some(value)),
                _ => noted.carried.note(name, value),
            }
        }
        noted
    }
}
