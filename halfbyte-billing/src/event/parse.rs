//! Events in the JSON format of CloudEvents.

use jiff::Timestamp;

use super::json::{Object, Text, first_of_array, write_text};
use super::{Event, EventError};

/// Bytes of an event as it is sent, with the spaces and escapes that are not kept.
const MAX_EVENT: usize = 1 << 20;
/// Members of an event, of which ten have a meaning.
const MAX_MEMBERS: usize = 40;
/// How long the name of an extension attribute may be.
const MAX_NAME: usize = 20;

impl Event {
    /// Reads one event in structured mode (`application/cloudevents+json`).
    ///
    /// `source`, `id`, `type`, `subject` and `time` must be there, and `specversion` must be `1.0`. Extension attributes
    /// and `dataschema` are let through and not kept.
    ///
    /// # Errors
    ///
    /// It is not valid JSON, lacks an attribute, has one twice or one that is out of bounds, its time is not in the form
    /// of RFC 3339, or its data is not a JSON object.
    pub fn from_json(json: &[u8]) -> Result<Self, EventError> {
        Self::from_text(utf8(json)?)
    }

    /// Reads a batch (`application/cloudevents-batch+json`) of at most `max` events. One that is wrong refuses all of
    /// them: sent once more without it, the others still count once.
    ///
    /// # Errors
    ///
    /// It is not a JSON array, has more than `max` events, or one of them is wrong: [`EventError::index`] says which.
    pub fn batch_from_json(json: &[u8], max: usize) -> Result<Vec<Self>, EventError> {
        let text = utf8(json)?;
        if !text.trim_start().starts_with('[') {
            return Err(EventError::new("", "not a JSON array; send [event, ...]"));
        }
        let events = first_of_array(text, max).map_err(|fault| EventError::new("", fault.to_string()))?;
        let Some(events) = events else {
            return Err(EventError::new("", format!("more than {max} events in a batch; send them in smaller ones")));
        };
        let events = events.into_iter().enumerate();
        events.map(|(index, event)| Self::from_text(event.get()).map_err(|error| error.at(index))).collect()
    }

    /// The event in structured mode (`application/cloudevents+json`).
    ///
    /// ```
    /// # use halfbyte_billing::Event;
    /// let event = Event::new("/printer", "1", "print.page", "acme", "2026-11-02T08:30:00Z".parse()?)?;
    /// assert_eq!(Event::from_json(event.to_json().as_bytes())?, event);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(200 + self.data.len());
        self.write_json(&mut json);
        json
    }

    /// A batch of events (`application/cloudevents-batch+json`).
    pub fn to_json_batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
        let mut json = String::from("[");
        for (index, event) in events.into_iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            event.write_json(&mut json);
        }
        json.push(']');
        json
    }

    fn write_json(&self, json: &mut String) {
        json.push_str("{\"specversion\":\"1.0\",\"source\":");
        write_text(&self.source, json);
        for (name, value) in [("id", &self.id), ("type", &self.kind), ("subject", &self.subject)] {
            json.extend([",\"", name, "\":"]);
            write_text(value, json);
        }
        json.extend([",\"time\":\"", &self.time.to_string(), "\""]);
        if !self.data.is_empty() {
            json.push_str(",\"datacontenttype\":\"application/json\",\"data\":");
            json.push_str(&self.data);
        }
        json.push('}');
    }

    fn from_text(text: &str) -> Result<Self, EventError> {
        if text.len() > MAX_EVENT {
            return Err(EventError::new("", format!("longer than {MAX_EVENT} bytes; send what meters need")));
        }
        let members = Object::parse(text).map_err(|fault| EventError::new("", fault.to_string()))?;
        check_names(&members)?;
        let attribute = |name: &str| match members.get(name) {
            None => Err(EventError::new(name, "missing; an event must have it")),
            Some(value) => Text::of(value).ok_or_else(|| EventError::new(name, "not a text; put it in quotes")),
        };
        if attribute("specversion")? != "1.0" {
            return Err(EventError::new(
                "specversion",
                "not `1.0`, the only version of CloudEvents that is understood",
            ));
        }
        if members.get("datacontenttype").is_some() && !is_json(&attribute("datacontenttype")?) {
            return Err(EventError::new("datacontenttype", "not `application/json`; send data as a JSON object"));
        }
        let time = rfc3339(&attribute("time")?)?;
        let event =
            Event::new(&attribute("source")?, &attribute("id")?, &attribute("type")?, &attribute("subject")?, time)?;
        match members.get("data") {
            None => Ok(event),
            Some(data) => event.raw_data(data.get()),
        }
    }
}

fn utf8(json: &[u8]) -> Result<&str, EventError> {
    std::str::from_utf8(json).map_err(|error| {
        EventError::new("", format!("not UTF-8 after {} bytes; send JSON in UTF-8", error.valid_up_to()))
    })
}

fn check_names(members: &Object<'_>) -> Result<(), EventError> {
    if members.len() > MAX_MEMBERS {
        return Err(EventError::new(
            "",
            format!("more than {MAX_MEMBERS} attributes; put what was measured into data"),
        ));
    }
    for name in members.names() {
        if name == "data_base64" {
            return Err(EventError::new("data_base64", "not understood; send data as a JSON object"));
        }
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !fits {
            let message = format!(
                "the name of an attribute is not 1 to {MAX_NAME} lower-case letters and digits; rename it, or put it into data"
            );
            return Err(EventError::new("", message));
        }
    }
    Ok(())
}

/// Whether a media type is that of JSON, whatever its parameters are.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads `2026-11-02T08:30:00.5+01:00`: of what jiff understands, the form that RFC 3339 has.
fn rfc3339(text: &str) -> Result<Timestamp, EventError> {
    let wrong = || EventError::new("time", "not in the form of RFC 3339, such as `2026-11-02T08:30:00Z`");
    if has_form_of_rfc3339(text.as_bytes()) { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

fn has_form_of_rfc3339(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let fraction = match rest {
        [b'.', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let zone = &rest[fraction..];
    // That a point has one to nine digits after it is seen to where the number is read.
    fits(date_time, b"0000-00-00T00:00:00") && (fits(zone, b"Z") || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

/// Whether `text` has a digit where `form` has one, and otherwise the same characters.
fn fits(text: &[u8], form: &[u8]) -> bool {
    text.len() == form.len()
        && text.iter().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte.eq_ignore_ascii_case(other),
        })
}
