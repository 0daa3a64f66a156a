use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a request that say whose trace and baggage it is in. They are noted while all headers are gone through
/// once: to look each of them up takes longer, as their names are none of those that a map knows by number.
#[derive(Clone, Copy)]
pub(crate) struct Carried<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) parent: Option<&'a HeaderValue>,
    pub(super) has_another_parent: bool,
    pub(super) has_state: bool,
    pub(super) has_baggage: bool,
}

impl<'a> Carried<'a> {
    /// Nothing is noted yet of `headers`.
    pub(crate) fn within(headers: &'a HeaderMap) -> Self {
        Self { headers, parent: None, has_another_parent: false, has_state: false, has_baggage: false }
    }

    #[inline]
    pub(crate) fn note(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        match name.as_str() {
            "traceparent" => self.has_another_parent = self.parent.replace(value).is_some(),
            "tracestate" => self.has_state = true,
            "baggage" => self.has_baggage = true,
            _ => {}
        }
    }

    #[cfg(test)]
    pub(super) fn by(headers: &'a HeaderMap) -> Self {
        let mut carried = Self::within(headers);
        headers.iter().for_each(|(name, value)| carried.note(name, value));
        carried
    }
}
