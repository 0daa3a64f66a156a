//! A line as it stands in a file.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Hash;
use super::record::{Outcome, Value};

/// In the first line of each file; another format gets another name.
pub(super) const FORMAT: &str = "halfbyte-audit/1";

/// One line of an audit log, without its hash. See the [module](super) for what the members mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The number of the line in the whole log, from 1, without gaps.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When it was written, by the clock of the machine, which can be set back.
    pub time: Timestamp,
    /// The product that wrote it.
    pub product: String,
    /// Its version.
    pub version: String,
    /// What it says.
    #[serde(flatten)]
    pub event: Event,
    /// The hash of the line before.
    pub prev: Hash,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A file begins.
    File(Begun),
    /// What a process that died had written of a line was removed from the end of the file.
    Repaired(Cut),
    /// Somebody did something.
    Record(Box<Recorded>),
}

/// The beginning of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Begun {
    /// `halfbyte-audit/1`.
    pub format: String,
    /// `sha256` or `hmac-sha256`.
    pub algorithm: String,
    /// The number of the file, from 1.
    pub file: u64,
}

/// What was removed from the end of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cut {
    /// How many bytes.
    pub cut_bytes: u64,
    /// Their SHA-256.
    pub cut_sha256: Hash,
}

/// Who did what to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recorded {
    /// Who.
    pub who: Person,
    /// Did what.
    pub action: String,
    /// To what.
    pub what: Thing,
    /// With which outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// In which request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// In which trace, as 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

/// Who did it, as it stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Person {
    /// `user`, `service`, `system` or `anonymous`; of those who act for a subject `actor`.
    pub kind: String,
    /// The subject in plain text, unless subjects are hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The subject's keyed hash, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_hash: Option<Hash>,
    /// For which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who vouches for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Who acts for the subject, the one who calls first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<Person>,
}

/// To what it was done, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Thing {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which of them.
    pub id: String,
}
