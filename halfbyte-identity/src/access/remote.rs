//! Policies at a URL.

use std::fmt;

use halfbyte_core::BoxError;
use halfbyte_core::client::{Client, Response};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::source::SourceFile;
use crate::settings::SecretFn;

/// The longest tag that is sent back, in bytes.
const LONGEST_TAG: usize = 1024;

/// A server that has the policies, and what it is asked with.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) url: Url,
    pub(super) client: Client,
    /// Asked at each look. The client follows no redirects: the token goes to this URL and nowhere else.
    pub(super) token: Option<SecretFn>,
}

impl Remote {
    /// The files and their tag; `None` if they are those of `tag` still.
    pub(super) async fn fetch(&self, tag: Option<&str>) -> Result<Option<(Vec<SourceFile>, Option<String>)>, BoxError> {
        require_safe(&self.url)?;
        let mut request = self.client.get(self.url.clone()).header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            let token = token().map_err(|error| format!("the token for the policies cannot be had: {error}"))?;
            request = request.bearer(&token);
        }
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let response = request.send().await?;
        if tag.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let response = response.success()?;
        require_json(&response)?;
        let document: Document = response.json()?;
        let tag = text(response.headers(), ETAG).filter(|tag| tag.len() <= LONGEST_TAG);
        Ok(Some((document.files.0, tag.map(ToOwned::to_owned))))
    }
}

/// Without what may be secret: user name, password, query and fragment.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What signs people in, or serves what they upload, may answer 200 to anything; and nothing here unpacks.
fn require_json(response: &Response) -> Result<(), BoxError> {
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Err("the policies were answered with a Content-Encoding, which was not asked for".into());
    }
    let kind = text(response.headers(), CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err("the policies were not answered as JSON: the Content-Type has to be application/json".into())
}

/// What a URL answers: all files in one document, so that a schema and the policies on it change together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    files: Files,
}

/// In the order of the document; a name that is there twice stays, to be refused.
struct Files(Vec<SourceFile>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FilesVisitor)
    }
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by the names of files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
        let mut files = Vec::new();
        while let Some((name, text)) = map.next_entry::<String, String>()? {
            files.push(SourceFile::new(name, text));
        }
        Ok(Files(files))
    }
}

/// Plain http is for this machine only: who can change what is fetched there can permit himself everything.
fn require_safe(url: &Url) -> Result<(), BoxError> {
    let this_machine = match url.host() {
        // Not *.localhost: that is asked of a name server where the system's resolver does not know better.
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if this_machine => Ok(()),
        _ => Err("the URL of the policies is neither https nor plain http on this machine".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_come_over_https_or_from_this_machine() {
        for (url, is_safe) in [
            ("https://policies.example.com/parcel", true),
            ("https://policies.localhost/parcel", true),
            ("http://127.0.0.1:8080/parcel", true),
            ("http://127.1/parcel", true),
            ("http://[::1]/parcel", true),
            ("http://localhost/parcel", true),
            ("http://LOCALHOST:80/parcel", true),
            ("http://policies.localhost/parcel", false),
            ("http://localhost./parcel", false),
            ("http://0.0.0.0/parcel", false),
            ("http://[::ffff:127.0.0.1]/parcel", false),
            ("http://localhost@policies.example.com/parcel", false),
            ("http://policies.example.com/parcel", false),
            ("http://localhost.example.com/parcel", false),
            ("file:///etc/policies", false),
            ("ftp://localhost/policies", false),
        ] {
            assert_eq!(require_safe(&url.parse().expect("a URL")).is_ok(), is_safe, "{url}");
        }
    }

    #[test]
    fn a_document_with_a_name_twice_keeps_both_to_be_refused() {
        let document: Document = serde_json::from_str(r#"{"files": {"a.cedar": "1", "a.cedar": "2"}}"#).expect("JSON");
        assert_eq!(document.files.0.len(), 2);
        for bad in ["[]", "{}", r#"{"files": {"a": 1}}"#, r#"{"files": {}, "more": 1}"#] {
            assert!(serde_json::from_str::<Document>(bad).is_err(), "{bad}");
        }
    }
}
