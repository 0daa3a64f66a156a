use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Something could not be recorded, or an audit log not be opened. What was to be recorded is not in the message.
///
/// # Troubleshooting
///
/// - [Invalid](Self::is_invalid): the record is over one of the bounds; the message says which.
/// - [In use](Self::is_in_use): another process writes to the folder. Give each process a folder of its own, or wait
///   for the other one to end ([`AuditLogBuilder::patience`](super::AuditLogBuilder::patience)).
/// - [Broken](Self::is_broken): what is there is not what was written. Look at it with
///   [`verify`](super::verify), move the folder away and keep it; a new log begins in its place.
/// - [Storage](Self::is_storage): the disk did not take it. Make room; the log goes on with the next record.
#[derive(Clone, Debug)]
pub struct AuditError {
    kind: AuditErrorKind,
    message: String,
    source: Option<Arc<io::Error>>,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditErrorKind {
    /// The record is over one of the bounds.
    Invalid,
    /// Another process writes to the folder.
    InUse,
    /// What is there is not what was written, or was written with another key.
    Broken,
    /// The disk did not take it.
    Storage,
}

impl AuditError {
    pub(super) fn invalid(message: String) -> Self {
        Self { kind: AuditErrorKind::Invalid, message, source: None }
    }

    pub(super) fn in_use(folder: &Path) -> Self {
        let message = format!("{}: another process writes this audit log", folder.display());
        Self { kind: AuditErrorKind::InUse, message, source: None }
    }

    pub(super) fn broken(message: String) -> Self {
        Self { kind: AuditErrorKind::Broken, message, source: None }
    }

    pub(super) fn storage(doing: impl fmt::Display, source: io::Error) -> Self {
        Self { kind: AuditErrorKind::Storage, message: doing.to_string(), source: Some(Arc::new(source)) }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> AuditErrorKind {
        self.kind
    }

    /// The record is over one of the bounds.
    pub fn is_invalid(&self) -> bool {
        self.kind == AuditErrorKind::Invalid
    }

    /// Another process writes to the folder.
    pub fn is_in_use(&self) -> bool {
        self.kind == AuditErrorKind::InUse
    }

    /// What is there is not what was written, or was written with another key.
    pub fn is_broken(&self) -> bool {
        self.kind == AuditErrorKind::Broken
    }

    /// The disk did not take it.
    pub fn is_storage(&self) -> bool {
        self.kind == AuditErrorKind::Storage
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
