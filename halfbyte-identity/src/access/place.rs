//! Where policies are read from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use halfbyte_core::BoxError;

use super::folder::{self, is_policy_file};
use super::policies::Bounds;
use super::remote::Remote;
use super::source::{Finding, SourceFile};
use super::statements::statements;

/// The longest name of a file, in bytes.
const LONGEST_NAME: usize = 200;

/// Where policies are.
#[derive(Clone)]
pub(super) enum Place {
    Files(Vec<SourceFile>),
    Folder(PathBuf),
    Url(Remote),
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
                (tokio::task::spawn_blocking(move || folder::read(&path, &bounds)).await??, None)
            }
            Self::Url(remote) => match remote.fetch(tag).await? {
                Some((files, tag)) => (Ok(files), tag),
                None => return Ok(Looked::Same),
            },
        };
        Ok(Looked::Found { found: files.and_then(|files| bounds.within(files)), tag })
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
            Self::Url(remote) => remote.fmt(f),
        }
    }
}

impl Bounds {
    /// The files, if nothing is [over](Self::exceeded) the bounds.
    pub(super) fn within(&self, files: Vec<SourceFile>) -> Found {
        let findings = self.exceeded(&files);
        if findings.is_empty() { Ok(files) } else { Err(findings) }
    }

    /// What is over them, and names that cannot be shown.
    pub(super) fn exceeded(&self, files: &[SourceFile]) -> Vec<Finding> {
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
