use std::error::Error;
use std::fmt;

/// The product cannot be deployed as it is. Lists everything that stands against it, each with what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct Undeployable(Vec<String>);

impl Undeployable {
    pub(super) fn new(fault: impl Into<String>) -> Self {
        Self(vec![fault.into()])
    }

    /// Everything that stands against it. No value of a variable is repeated: it may be a secret in the wrong place.
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Undeployable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the product cannot be deployed so:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl fmt::Debug for Undeployable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Undeployable {}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Adds the fault unless `holds`.
    pub(super) fn unless(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }

    pub(super) fn none(self) -> Result<(), Undeployable> {
        if self.0.is_empty() { Ok(()) } else { Err(Undeployable(self.0)) }
    }
}
