//! Events as Lago takes them, and what it says of those that it does not take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::cloud_event::{data, json, message_id};
use super::status::clip;
use super::{Exported, SendError};

/// The most events that it takes in one request.
pub(super) const MOST: usize = 100;

/// `timestamp` is in seconds, with milliseconds behind the point.
#[derive(Serialize)]
struct LagoEvent<'a> {
    transaction_id: String,
    external_subscription_id: &'a str,
    code: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct LagoBatch<'a> {
    pub(super) events: &'a [&'a RawValue],
}

pub(super) fn encode(exported: &Exported) -> Result<Box<RawValue>, SendError> {
    let event = exported.event();
    let millis = event.time.as_millisecond();
    json(&LagoEvent {
        transaction_id: message_id(exported),
        external_subscription_id: exported.tenant().as_str(),
        code: &event.kind,
        timestamp: format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000)),
        properties: data(exported)?,
    })
}

/// What is wrong with an event of a batch that was refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It came before.
    Known,
    Refused(String),
}

#[derive(Deserialize)]
struct Refusal {
    error_details: BTreeMap<String, Value>,
}

/// The faults of a refused batch by the index of the event. Empty when the answer is about no event, or none of Lago's.
pub(super) fn faults(body: &[u8]) -> BTreeMap<usize, Fault> {
    let Ok(Refusal { error_details }) = serde_json::from_slice(body) else { return BTreeMap::new() };
    error_details.into_iter().filter_map(|(index, details)| Some((index.parse().ok()?, fault(&details)))).collect()
}

/// From `{"field": ["code", ...], ...}`.
fn fault(details: &Value) -> Fault {
    let Value::Object(fields) = details else { return Fault::Refused(clip(&details.to_string())) };
    let known = Value::from(vec!["value_already_exist"]);
    if fields.len() == 1 && fields.get("transaction_id") == Some(&known) {
        return Fault::Known;
    }
    Fault::Refused(clip(&details.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{event, exported};
    use super::*;

    #[test]
    fn an_event_is_one_of_lago() {
        let mut event = event("7", r#"{"gb":10}"#);
        event.time = "2030-01-01T00:00:00.123456Z".parse().expect("a time");
        let json = encode(&exported(event)).expect("JSON");
        let expected = concat!(
            r##"{"transaction_id":"/test#7","external_subscription_id":"acme","code":"com.example.request","##,
            r##""timestamp":"1893456000.123","properties":{"gb":10}}"##,
        );
        assert_eq!(json.get(), expected);
    }

    #[test]
    fn what_came_before_is_told_from_what_is_refused() {
        let body = br#"{"status": 422, "code": "validation_errors", "error_details": {
            "1": {"transaction_id": ["value_already_exist"]},
            "4": {"transaction_id": ["value_already_exist"], "code": ["value_is_mandatory"]},
            "7": {"timestamp": ["invalid_format"]}}}"#;
        let faults = faults(body);
        assert_eq!(faults.keys().copied().collect::<Vec<_>>(), [1, 4, 7]);
        assert_eq!(faults[&1], Fault::Known);
        assert!(matches!(&faults[&4], Fault::Refused(why) if why.contains("value_is_mandatory")));
        assert_eq!(faults[&7], Fault::Refused(r#"{"timestamp":["invalid_format"]}"#.to_owned()));
    }

    #[test]
    fn an_answer_about_no_event_has_no_faults() {
        for body in [r#"{"error_details": {"events": ["too_many_events"]}}"#, "{}", "<html>", ""] {
            assert!(faults(body.as_bytes()).is_empty(), "{body}");
        }
    }
}
