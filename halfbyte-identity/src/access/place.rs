//! Where policies are read from.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use halfbyte_core::BoxError;
use halfbyte_core::client::Client;
use http::StatusCode;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::policies::Bounds;
use super::source::{Finding, SourceFile};
use super::statements::statements;

/// The longest name of a file, in bytes.
const LONGEST_NAME: usize = 200;

/// Where policies are.
#[derive(Clone)]
pub(super) enum Place {
    Files(Vec<SourceFile>),
    Folder(PathBuf),
    Url(Url, Client),
}

/// What was found there: files, or what is wrong with them before anything is parsed.
pub(super) type Found = Result<Vec<SourceFile>, Vec<Finding>>;

/// What came of a look.
pub(super) enum Looked {
    /// The same as the answer of that tag.
    Same,
    Found {
        found: Found,
        /// Names the answer, for the next look.
        tag: Option<String>,
    },
}

impl Place {
    /// Reads everything, within `bounds`. An error if the place cannot be reached.
    pub(super) async fn look(&self, tag: Option<&str>, bounds: &Bounds) -> Result<Looked, BoxError> {
        let (files, tag) = match self {
            Self::Files(files) => (Ok(files.clone()), None),
            Self::Folder(path) => {
                let (path, bounds) = (path.clone(), bounds.clone());
                (tokio::task::spawn_blocking(move || read_folder(&path, &bounds)).await??, None)
            }
            Self::Url(url, client) => match fetch(url, client, tag).await? {
                Some((files, tag)) => (Ok(files), tag),
                None => return Ok(Looked::Same),
            },
        };
        let found = files.and_then(|files| match bounds.exceeded(&files) {
            findings if findings.is_empty() => Ok(files),
            findings => Err(findings),
        });
        Ok(Looked::Found { found, tag })
    }

    /// Whether it may be seen half written.
    pub(super) fn is_written_in_place(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

/// Names the place, a URL without what may be secret in it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => write!(f, "{} files in the program", files.len()),
            Self::Folder(path) => path.display().fmt(f),
            Self::Url(url, _) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
        }
    }
}

impl Bounds {
    /// What is over them, and names that cannot be shown.
    fn exceeded(&self, files: &[SourceFile]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut over = |reason: String| findings.push(Finding { file: Arc::default(), line: 0, reason: reason.into() });
        if files.len() > self.files {
            over(format!("there are {} files, more than the {} that are taken", files.len(), self.files));
        }
        let bytes: usize = files.iter().map(|file| file.text.len()).sum();
        if bytes > self.bytes {
            over(format!("there are {bytes} bytes, more than the {} that are taken", self.bytes));
        }
        let policies: usize =
            files.iter().filter(|file| !file.is_schema()).map(|file| statements(&file.text).len()).sum();
        if policies > self.policies {
            over(format!("there are {policies} policies, more than the {} that are taken", self.policies));
        }
        for file in files {
            if file.name.len() > LONGEST_NAME || file.name.chars().any(char::is_control) {
                over(format!("the name of a file is over {LONGEST_NAME} bytes or has control characters"));
            } else if !is_policy_file(&file.name) {
                over(format!("{:?} is neither a .cedar nor a .cedarschema file", file.name));
            }
        }
        findings
    }
}

fn is_policy_file(name: &str) -> bool {
    name.ends_with(".cedar") || name.ends_with(".cedarschema")
}

/// The policy files that stand in a folder itself, in the order of their names.
fn read_folder(path: &Path, bounds: &Bounds) -> io::Result<Found> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    // Resolved once: a link that is moved to another folder in the middle does not mix the two.
    let folder = fs::canonicalize(path).map_err(named)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(named)? {
        let name = entry.map_err(named)?.file_name();
        match name.to_str() {
            Some(name) if is_policy_file(name) && !name.starts_with('.') => names.push(name.to_owned()),
            _ => {}
        }
        if names.len() > bounds.files {
            let reason = format!("there are more files than the {} that are taken", bounds.files);
            return Ok(Err(vec![Finding { file: Arc::default(), line: 0, reason: reason.into() }]));
        }
    }
    names.sort_unstable();
    let (mut files, mut findings, mut room) = (Vec::new(), Vec::new(), bounds.bytes);
    for name in names {
        let mut bytes = Vec::new();
        let file = fs::File::open(folder.join(&name)).map_err(named)?;
        // One more than there is room for, so that too much shows.
        file.take(room as u64 + 1).read_to_end(&mut bytes).map_err(named)?;
        let wrong = match room.checked_sub(bytes.len()) {
            Some(left) => {
                room = left;
                match String::from_utf8(bytes) {
                    Ok(text) => {
                        files.push(SourceFile::new(name, text));
                        continue;
                    }
                    Err(_) => "it is not UTF-8".to_owned(),
                }
            }
            None => format!("with this file there are more bytes than the {} that are taken", bounds.bytes),
        };
        findings.push(Finding { file: name.into(), line: 0, reason: wrong.into() });
    }
    Ok(if findings.is_empty() { Ok(files) } else { Err(findings) })
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

/// The document and its tag; `None` if it is the one of `tag` still.
async fn fetch(
    url: &Url,
    client: &Client,
    tag: Option<&str>,
) -> Result<Option<(Vec<SourceFile>, Option<String>)>, BoxError> {
    require_safe(url)?;
    let request = client.get(url.clone()).header(ACCEPT, "application/json");
    let response = match tag {
        Some(tag) => request.header(IF_NONE_MATCH, tag).send().await?,
        None => request.send().await?,
    };
    if tag.is_some() && response.status() == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let response = response.success()?;
    let document: Document = response.json()?;
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned);
    Ok(Some((document.files.0, tag)))
}

/// Plain http is for this machine only: who can change what is fetched there can permit himself everything.
fn require_safe(url: &Url) -> Result<(), BoxError> {
    let this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
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
            ("http://127.0.0.1:8080/parcel", true),
            ("http://[::1]/parcel", true),
            ("http://localhost/parcel", true),
            ("http://policies.example.com/parcel", false),
            ("http://localhost.example.com/parcel", false),
            ("file:///etc/policies", false),
        ] {
            assert_eq!(require_safe(&url.parse().expect("a URL")).is_ok(), is_safe, "{url}");
        }
    }

    #[test]
    fn of_a_folder_policies_and_schemas_are_read_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("b.cedar", "b"), ("a.cedarschema", "a"), (".c.cedar", "c"), ("d.cedar~", "d"), ("README.md", "e")]
        {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let found = read_folder(folder.path(), &Bounds::default()).expect("there").expect("readable");
        assert_eq!(found, [SourceFile::new("a.cedarschema", "a"), SourceFile::new("b.cedar", "b")]);
        let error = read_folder(&folder.path().join("away"), &Bounds::default()).expect_err("not there");
        assert!(error.to_string().contains("away: "), "{error}");
    }

    #[test]
    fn what_is_over_the_bounds_is_refused_before_it_is_parsed() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.cedar", "b.cedar"] {
            fs::write(folder.path().join(name), "permit(principal, action, resource);").expect("written");
        }
        let of = |bounds: Bounds| {
            let found = read_folder(folder.path(), &bounds).expect("there");
            let findings = found.map(|files| bounds.exceeded(&files)).unwrap_or_else(|findings| findings);
            findings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let exact = Bounds { files: 2, bytes: 72, policies: 2 };
        assert_eq!(of(exact.clone()), [""; 0]);
        assert_eq!(of(Bounds { files: 1, ..exact.clone() }), ["there are more files than the 1 that are taken"]);
        assert_eq!(
            of(Bounds { bytes: 71, ..exact.clone() }),
            ["b.cedar: with this file there are more bytes than the 71 that are taken"]
        );
        assert_eq!(of(Bounds { policies: 1, ..exact }), ["there are 2 policies, more than the 1 that are taken"]);
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
