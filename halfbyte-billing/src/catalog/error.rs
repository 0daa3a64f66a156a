use std::fmt;

/// What is wrong with a catalogue: every fault, not just the first.
///
/// # Troubleshooting
///
/// Each line of the message reads `file:line: name: what to do`. When the file is not valid TOML only the faults of
/// syntax are listed: what the rest means is not known before they are mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogError {
    pub(super) file: Box<str>,
    pub(super) faults: Vec<Fault>,
}

/// One fault of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// What it is about, as a TOML path such as `plans.starter.features.labels`; empty for a fault of syntax.
    pub name: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl CatalogError {
    /// The file, as it was named to the parser.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Every fault, in the order of the file.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = fault.line {
                write!(f, ":{line}")?;
            }
            if !fault.name.is_empty() {
                write!(f, ": {}", fault.name)?;
            }
            write!(f, ": {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for CatalogError {}
