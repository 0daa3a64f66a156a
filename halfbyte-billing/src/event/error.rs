use std::fmt;

/// Why something is no usage event.
///
/// # Troubleshooting
///
/// The message reads `event INDEX: ATTRIBUTE: what to do`; the index (from 0) is there for events of a batch. What was
/// sent is never repeated in it: it may be logged and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    index: Option<usize>,
    attribute: Box<str>,
    message: Box<str>,
}

impl EventError {
    pub(crate) fn new(attribute: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self { index: None, attribute: attribute.into(), message: message.into() }
    }

    /// A fault of a member of `data`.
    pub(crate) fn of_member(member: &str, message: impl Into<Box<str>>) -> Self {
        Self::new(format!("data.{member}"), message)
    }

    pub(super) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// The attribute that it is about, such as `time` or `data.pages`; empty for the event as a whole.
    pub fn attribute(&self) -> &str {
        &self.attribute
    }

    /// Which event of a batch it is about, from 0; `None` for a single event, and for the batch as a whole.
    pub fn index(&self) -> Option<usize> {
        self.index
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "event {index}: ")?;
        }
        if !self.attribute.is_empty() {
            write!(f, "{}: ", self.attribute)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for EventError {}
