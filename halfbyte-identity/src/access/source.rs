use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::folder;
use super::policies::Bounds;

/// One file of policies (`.cedar`) or of a schema (`.cedarschema`), by its name as findings show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is: a path, or the last part of a URL.
    pub name: Arc<str>,
    /// What stands in it.
    pub text: Arc<str>,
}

impl SourceFile {
    /// A file by name and text: `SourceFile::new("parcel.cedar", include_str!("../policies/parcel.cedar"))`.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The policies of a folder, read as [`Policies::folder`](super::Policies::folder) reads them, within the default
    /// [`Bounds`](super::Bounds): for tests and tools. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// All that is wrong with the folder: it cannot be read or has no policies, or something in it is not taken.
    pub fn folder(path: impl AsRef<Path>) -> Result<Vec<Self>, Invalid> {
        Self::folder_within(path.as_ref(), &Bounds::default())
    }

    /// The same, within other bounds.
    pub(super) fn folder_within(path: &Path, bounds: &Bounds) -> Result<Vec<Self>, Invalid> {
        let refused = |reason: String| Invalid(vec![Finding { file: Arc::default(), line: 0, reason: reason.into() }]);
        let found = folder::read(path, bounds).map_err(|error| refused(format!("they cannot be read: {error}")))?;
        match found.and_then(|files| bounds.within(files)) {
            Ok(files) if files.is_empty() => {
                Err(refused(format!("there are no policies in {}: no .cedar and no .cedarschema file", path.display())))
            }
            found => found.map_err(Invalid),
        }
    }

    /// It is a schema, and not policies.
    pub fn is_schema(&self) -> bool {
        self.name.ends_with(".cedarschema")
    }
}

/// Shows the name alone.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.name).finish_non_exhaustive()
    }
}

/// Something wrong, or odd, in policies or a schema: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file; empty if it is of no one file.
    pub file: Arc<str>,
    /// The line, from 1; 0 if it is of no one line.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: Box<str>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.file, self.line) {
            ("", _) => f.write_str(&self.reason),
            (file, 0) => write!(f, "{file}: {}", self.reason),
            (file, line) => write!(f, "{file}:{line}: {}", self.reason),
        }
    }
}

/// How many findings are shown: the log holds no more of a set in which everything is wrong.
const SHOWN: usize = 50;

/// A set of policies that is not put in force, and all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<Finding>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policies are not put in force")?;
        self.0.iter().take(SHOWN).try_for_each(|finding| write!(f, "\n  {finding}"))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Invalid {}
