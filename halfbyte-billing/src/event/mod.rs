//! Usage events: CloudEvents 1.0.

mod correction;
mod error;
pub(crate) mod json;
mod parse;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::Serialize;

pub use self::correction::EventRef;
pub use self::error::EventError;

const MAX_SOURCE: usize = 512;
const MAX_ID: usize = 256;
const MAX_TYPE: usize = 128;
/// A subject may be the id of a tenant, which is at most as long.
const MAX_SUBJECT: usize = 256;
const MAX_DATA: usize = 64 * 1024;

/// A usage event: who used what, when, and how much. It is a CloudEvent 1.0, and counts once for its source and id.
///
/// ```
/// use halfbyte_billing::Event;
/// use serde_json::json;
///
/// let event = Event::new("/printer", "job-17", "print.page", "acme", "2026-11-02T08:30:00Z".parse()?)?
///     .data(json!({ "pages": 12, "colour": true }))?;
/// assert_eq!(event.data_json(), Some(r#"{"colour":true,"pages":12}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | attribute | what it is | bound |
/// |---|---|---|
/// | `source` | where it happened, as a URI reference | 512 bytes |
/// | `id` | what it is called there | 256 bytes |
/// | `type` | what happened: meters go by it | 128 bytes |
/// | `subject` | who pays: a tenant or an alias of one | 256 bytes |
/// | `time` | when it happened, to the microsecond | not before 1970 |
/// | `data` | a JSON object with what was measured, nested at most 32 deep | 64 KiB |
///
/// No text among the attributes is empty or has control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(crate) source: Box<str>,
    pub(crate) id: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) time: Timestamp,
    /// JSON object text in the one form of [`json::canonical_object`], or empty.
    pub(crate) data: Box<str>,
}

/// What an event changes that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    pub(crate) source: Box<str>,
    pub(crate) id: Box<str>,
    /// The data that takes the place of what was sent; `None` for a void.
    pub(crate) data: Option<Box<str>>,
}

impl Event {
    /// An event of type `kind` without data. What of `time` is finer than a microsecond is left out.
    ///
    /// # Errors
    ///
    /// A text is empty, longer than its bound or has control characters, or `time` is before 1970.
    pub fn new(source: &str, id: &str, kind: &str, subject: &str, time: Timestamp) -> Result<Self, EventError> {
        let time = match Timestamp::from_microsecond(time.as_microsecond()) {
            Ok(time) if time >= Timestamp::UNIX_EPOCH => time,
            _ => return Err(EventError::new("time", "before 1970; send the time at which it happened")),
        };
        Ok(Self {
            source: checked("source", source, MAX_SOURCE)?,
            id: checked("id", id, MAX_ID)?,
            kind: checked("type", kind, MAX_TYPE)?,
            subject: checked("subject", subject, MAX_SUBJECT)?,
            time,
            data: Box::default(),
        })
    }

    /// What was measured: a value that becomes a JSON object.
    ///
    /// # Errors
    ///
    /// As those of [`raw_data`](Self::raw_data), or the value cannot become JSON.
    pub fn data(self, data: impl Serialize) -> Result<Self, EventError> {
        // What the value says of its own failure may repeat what is in it.
        let text = serde_json::to_string(&data)
            .map_err(|_| EventError::new("data", "cannot become JSON; use texts as the keys of maps"))?;
        self.raw_data(&text)
    }

    /// What was measured, as the text of a JSON object. Numbers stay as they are written: `0.10` is not made `0.1`.
    ///
    /// # Errors
    ///
    /// It is not a JSON object, has a name twice in one object, is nested too deep, has U+0000 in a text, or is longer
    /// than its bound without the spaces that need not be.
    pub fn raw_data(mut self, json: &str) -> Result<Self, EventError> {
        let too_long = || {
            let message = format!("longer than {MAX_DATA} bytes; send what meters need, and a reference to the rest");
            EventError::new("data", message)
        };
        // Escapes make a text up to six times as long.
        if json.len() > 8 * MAX_DATA {
            return Err(too_long());
        }
        let data = json::canonical_object(json).map_err(|fault| EventError::new("data", fault.to_string()))?;
        if data.len() > MAX_DATA {
            return Err(too_long());
        }
        self.data = data.into();
        Ok(self)
    }

    /// The context in which it came to be.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it is called in its source.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its `type`: what happened.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Who pays.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When it happened, to the microsecond.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Its data: the text of a JSON object with sorted members and no spaces.
    pub fn data_json(&self) -> Option<&str> {
        (!self.data.is_empty()).then_some(&*self.data)
    }

    /// What names it.
    pub fn reference(&self) -> EventRef {
        EventRef { source: self.source.clone(), id: self.id.clone() }
    }

    /// What it says, as 32 hexadecimal digits (SHA-256, the first half): all but its source and id, which say which
    /// event it is. Two events of one source and id with different digests are in conflict.
    pub fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        context.update(&self.time.as_microsecond().to_be_bytes());
        for text in [&self.kind, &self.subject, &self.data] {
            // The length before each text, so that no two lists of texts read the same.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let hash = context.finish();
        let digits = hash.as_ref()[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
    }
}

fn checked(attribute: &str, text: &str, max: usize) -> Result<Box<str>, EventError> {
    let message = match text {
        "" => "empty; an event must have it".to_owned(),
        text if text.len() > max => format!("longer than {max} bytes; send a shorter one"),
        text if text.contains(char::is_control) => "has control characters; send it without them".to_owned(),
        text => return Ok(text.into()),
    };
    Err(EventError::new(attribute, message))
}
