//! Events that take back or replace what was sent before.

use jiff::Timestamp;
use serde::Serialize;

use super::json::{Object, Text, write_text};
use super::{Correction, Event, EventError, MAX_ID, MAX_SOURCE, checked};

/// What names an event: no two that count have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventRef {
    pub(crate) source: Box<str>,
    pub(crate) id: Box<str>,
}

impl EventRef {
    /// The event `id` of `source`.
    ///
    /// # Errors
    ///
    /// One of them is empty, too long or has control characters, so that no event has it.
    pub fn new(source: &str, id: &str) -> Result<Self, EventError> {
        Ok(Self { source: checked("source", source, MAX_SOURCE)?, id: checked("id", id, MAX_ID)? })
    }

    /// The context in which the event came to be.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it is called in it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Event {
    /// The `type` of an event that takes another one back.
    pub const VOIDED: &'static str = "halfbyte.usage.voided";

    /// The `type` of an event that gives another one new data.
    pub const AMENDED: &'static str = "halfbyte.usage.amended";

    /// An event that takes `target` back, as if it had not been sent. `subject` is who pays for the target.
    ///
    /// # Errors
    ///
    /// As those of [`Event::new`], and `target` is the event itself.
    pub fn void(source: &str, id: &str, subject: &str, time: Timestamp, target: &EventRef) -> Result<Self, EventError> {
        let event = Event::new(source, id, Event::VOIDED, subject, time)?;
        event.correcting(target, None)
    }

    /// An event that gives `target` the data `data` in place of what it has. Source, id, type, subject and time stay.
    ///
    /// # Errors
    ///
    /// As those of [`Event::new`] and [`Event::data`], and `target` is the event itself.
    pub fn amend(
        source: &str,
        id: &str,
        subject: &str,
        time: Timestamp,
        target: &EventRef,
        data: impl Serialize,
    ) -> Result<Self, EventError> {
        let event = Event::new(source, id, Event::AMENDED, subject, time)?.data(data)?;
        let data = event.data.clone();
        event.correcting(target, Some(&data))
    }

    fn correcting(self, target: &EventRef, data: Option<&str>) -> Result<Self, EventError> {
        let mut text = String::from("{");
        if let Some(data) = data {
            text.push_str("\"data\":");
            text.push_str(data);
            text.push(',');
        }
        text.push_str("\"id\":");
        write_text(&target.id, &mut text);
        text.push_str(",\"source\":");
        write_text(&target.source, &mut text);
        text.push('}');
        let event = self.raw_data(&text)?;
        event.correction().map(|_| event)
    }

    /// Whether it has the type of a correction.
    pub(crate) fn corrects(&self) -> bool {
        matches!(&*self.kind, Self::AMENDED | Self::VOIDED)
    }

    /// What it changes; `None` for an event that is use.
    ///
    /// # Errors
    ///
    /// It has the type of a correction, and its data is not that of one.
    pub(crate) fn correction(&self) -> Result<Option<Correction>, EventError> {
        let amends = match &*self.kind {
            Self::AMENDED => true,
            Self::VOIDED => false,
            _ => return Ok(None),
        };
        let members = match &*self.data {
            "" => Object::default(),
            data => Object::parse(data).map_err(|fault| EventError::new("data", fault.to_string()))?,
        };
        if members.names().any(|name| !matches!(name, "source" | "id" | "data")) {
            return Err(EventError::new(
                "data",
                "a correction has `source`, `id` and `data` alone; leave the rest out",
            ));
        }
        let text = |name: &str, max: usize| {
            let text = members.get(name).and_then(Text::of).ok_or_else(|| {
                EventError::of_member(name, "missing or not a text; name the event that is corrected")
            })?;
            checked(&format!("data.{name}"), &text, max)
        };
        let (source, id) = (text("source", MAX_SOURCE)?, text("id", MAX_ID)?);
        if (&source, &id) == (&self.source, &self.id) {
            return Err(EventError::new(
                "data.id",
                "an event cannot correct itself; name the one that was sent before",
            ));
        }
        let data = match members.get("data") {
            Some(data) if amends && data.get().starts_with('{') => Some(data.get().into()),
            None if !amends => None,
            Some(_) if !amends => {
                let message =
                    format!("not for an event that takes another one back; leave it out, or send `{}`", Self::AMENDED);
                return Err(EventError::of_member("data", message));
            }
            _ => return Err(EventError::of_member("data", "missing or not an object; send the data that is right")),
        };
        Ok(Some(Correction { source, id, data }))
    }
}
