use std::fmt;
use std::sync::Arc;

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
