use std::error::Error;
use std::fmt;

/// The configuration cannot be used. Lists every fault that was found, each with its key and what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError(pub(super) Vec<Fault>);

/// One fault in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key that it is about.
    pub key: String,
    /// What is wrong, and what to do. Never the value itself where that could hold a secret.
    pub message: String,
}

impl ConfigError {
    /// Every fault that was found.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, plural) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        write!(f, "the configuration has {count} fault{plural}:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {}: {}", fault.key, fault.message))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {}
