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
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut noted = Self { carried: Carried::within(headers), host: None, agent: None };
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
