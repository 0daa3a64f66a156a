//! An event as JSON, in the structured mode of CloudEvents 1.0, and its name in other systems.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Exported, SendError};

/// What an id may not hold so that it fits into a header and is told from every other.
const ID: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
const SOURCE: &AsciiSet = &ID.add(b'#');

/// The event as one JSON object. `halfbytetenant` names who pays for it.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    time: String,
    halfbytetenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

pub(super) fn encode(exported: &Exported) -> Result<Box<RawValue>, SendError> {
    let event = exported.event();
    let data = data(exported)?;
    json(&CloudEvent {
        specversion: "1.0",
        id: &event.id,
        source: &event.source,
        kind: &event.kind,
        subject: &event.subject,
        time: event.time.to_string(),
        halfbytetenant: exported.tenant().as_str(),
        datacontenttype: data.map(|_| "application/json"),
        data,
    })
}

/// What identifies the event wherever it is sent to: its source, `#`, its id. Spaces, control characters, `%`, what is not
/// ASCII, and a `#` in the source are percent-encoded, so that no two events have the same.
pub(super) fn message_id(exported: &Exported) -> String {
    let event = exported.event();
    format!("{}#{}", utf8_percent_encode(&event.source, SOURCE), utf8_percent_encode(&event.id, ID))
}

/// The data as it was received, digit for digit.
pub(super) fn data(exported: &Exported) -> Result<Option<&RawValue>, SendError> {
    let data = &*exported.event().data;
    if data.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(data).map(Some).map_err(unreadable)
}

pub(super) fn json(value: &impl Serialize) -> Result<Box<RawValue>, SendError> {
    to_raw_value(value).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> SendError {
    SendError::refused(format!("the data of the event is no JSON ({:?} error); the store is damaged", error.classify()))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{event, exported};
    use super::*;

    #[test]
    fn an_event_is_a_cloud_event_with_its_numbers_as_they_were() {
        let json = encode(&exported(event("7", r#"{"units": 123456789012345678901.10}"#))).expect("JSON");
        let expected = concat!(
            r#"{"specversion":"1.0","id":"7","source":"/test","type":"com.example.request","subject":"key-1","#,
            r#""time":"2030-01-01T00:00:00Z","halfbytetenant":"acme","datacontenttype":"application/json","#,
            r#""data":{"units": 123456789012345678901.10}}"#,
        );
        assert_eq!(json.get(), expected);
    }

    #[test]
    fn an_event_without_data_has_none() {
        let json = encode(&exported(event("7", ""))).expect("JSON");
        assert!(!json.get().contains("data\"") && !json.get().contains("datacontenttype"), "{json}");
    }

    #[test]
    fn damaged_data_is_refused_and_not_shown() {
        let error = encode(&exported(event("7", "{\"card\": 4111"))).expect_err("no JSON");
        assert!(error.is_permanent());
        assert!(!error.to_string().contains("4111"), "{error}");
    }

    #[test]
    fn no_two_events_have_the_same_message_id_and_all_fit_into_a_header() {
        let id = |source: &str, id: &str| {
            let mut event = event(id, "");
            event.source = source.into();
            message_id(&exported(event))
        };
        assert_eq!(id("/shop", "order-1"), "/shop#order-1");
        assert_ne!(id("a#b", "c"), id("a", "b#c"));
        assert_ne!(id("a%23b", "c"), id("a#b", "c"));
        assert_eq!(id("/über", "1\r\n2 "), "/%C3%BCber#1%0D%0A2%20");
    }
}
