//! What a product said, held against the contract's table of refusals.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The rows of HB-REF-001 that a good request may meet: the last part of the type, the status, and whether `Retry-After`
/// comes with it. A panic has a row as well, and no excuse.
const TABLE: [(&str, u16, bool); 13] = [
    ("unauthenticated", 401, false),
    ("invalid-token", 401, false),
    ("step-up-required", 401, false),
    ("insufficient-scope", 403, false),
    ("forbidden", 403, false),
    ("not-entitled", 403, false),
    ("payment-required", 402, false),
    ("quota-exhausted", 429, true),
    ("unavailable", 503, true),
    ("overloaded", 503, true),
    ("draining", 503, true),
    ("deadline-exceeded", 504, false),
    ("internal", 500, false),
];

/// The time of HB-REQ-004.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// What a busy machine adds to it.
pub const SLACK: Duration = Duration::from_secs(3);

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    Good,
    /// Refused by this row of the table.
    Refused(&'static str),
    /// Something that no product may say.
    Broken(String),
}

impl Answer {
    /// Reads an answer that came.
    pub fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        if status == 201 {
            return match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) => Self::Good,
                Err(_) => Self::Broken("201 with a body that is no JSON".to_owned()),
            };
        }
        let broken = |why: &str| Self::Broken(format!("{status} {why}"));
        let Ok(problem) = serde_json::from_slice::<Value>(body) else { return broken("without a problem") };
        let urn = problem["type"].as_str().and_then(|urn| urn.strip_prefix("urn:halfbyte:problem:"));
        let Some(row) = TABLE.iter().find(|row| Some(row.0) == urn) else {
            return broken(&format!("of the type {} that is in no row", problem["type"]));
        };
        let (kind, of_row, has_pause) = *row;
        let is_text = |member: &str| problem[member].as_str().is_some_and(|text| !text.is_empty());
        let pause = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match () {
            () if kind == "internal" => broken("internal"),
            () if status != of_row || problem["status"] != status => broken(&format!("with the type {kind}")),
            () if has_pause && pause.is_none_or(|seconds| seconds == 0) => {
                broken(&format!("{kind} without Retry-After"))
            }
            () if headers.get("content-type").is_none_or(|media| media != "application/problem+json") => {
                broken(&format!("{kind} that is not application/problem+json"))
            }
            () if !["title", "detail", "request_id", "trace_id"].into_iter().all(is_text) => {
                broken(&format!("{kind} that lacks a member"))
            }
            () => Self::Refused(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn problem(kind: &str, status: u16) -> Value {
        json!({
            "type": format!("urn:halfbyte:problem:{kind}"), "title": "t", "status": status, "detail": "d",
            "request_id": "r", "trace_id": "t",
        })
    }

    fn read(status: u16, problem: &Value, pairs: &[(&'static str, &'static str)]) -> Answer {
        Answer::read(status, &headers(pairs), problem.to_string().as_bytes())
    }

    const MEDIA: (&str, &str) = ("content-type", "application/problem+json");
    const PAUSE: (&str, &str) = ("retry-after", "1");

    #[test]
    fn what_is_in_the_table_is_told_by_its_row() {
        let unavailable = problem("unavailable", 503);
        assert_eq!(read(503, &unavailable, &[MEDIA, PAUSE]), Answer::Refused("unavailable"));
        assert_eq!(read(401, &problem("invalid-token", 401), &[MEDIA]), Answer::Refused("invalid-token"));
        assert_eq!(read(201, &json!({ "id": 1 }), &[]), Answer::Good);
    }

    #[test]
    fn what_is_not_in_the_table_breaks_a_promise() {
        let unavailable = problem("unavailable", 503);
        let mut silent = unavailable.clone();
        silent["detail"] = "".into();
        let mutants = [
            (read(500, &problem("internal", 500), &[MEDIA]), "500 internal"),
            (read(503, &unavailable, &[MEDIA]), "503 unavailable without Retry-After"),
            (read(503, &unavailable, &[PAUSE]), "503 unavailable that is not application/problem+json"),
            (read(502, &unavailable, &[MEDIA, PAUSE]), "502 with the type unavailable"),
            (read(503, &problem("unavailable", 500), &[MEDIA, PAUSE]), "503 with the type unavailable"),
            (read(503, &silent, &[MEDIA, PAUSE]), "503 unavailable that lacks a member"),
            (read(503, &problem("tired", 503), &[MEDIA, PAUSE]), {
                "503 of the type \"urn:halfbyte:problem:tired\" that is in no row"
            }),
            (Answer::read(500, &HeaderMap::new(), b"Internal Server Error"), "500 without a problem"),
            (Answer::read(201, &HeaderMap::new(), b"<html>"), "201 with a body that is no JSON"),
        ];
        for (answer, why) in mutants {
            assert_eq!(answer, Answer::Broken(why.to_owned()));
        }
    }
}
