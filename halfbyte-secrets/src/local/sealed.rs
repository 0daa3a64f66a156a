//! The encrypted file's content: a JSON object of names and values.

use std::collections::BTreeMap;
use std::path::Path;

use age::DecryptError;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};

use crate::key::Key;
use crate::{Error, ErrorKind};

pub(super) type Values = BTreeMap<String, SecretString>;

/// Decrypts the content of `file`; `key_file` is where its key is.
pub(super) fn open(file: &Path, sealed: &[u8], key: &Key, key_file: &Path) -> Result<Values, Error> {
    let plain = key.decrypt(sealed).map_err(|error| {
        let (shown, key) = (file.display(), key_file.display());
        let (kind, message) = match error {
            DecryptError::NoMatchingKeys => (
                ErrorKind::Denied,
                format!(
                    "{shown} was encrypted for another key than the one in {key}: put back the key that belongs to it"
                ),
            ),
            _ => (
                ErrorKind::Malformed,
                format!("{shown} is damaged or cut short: restore it from a backup, or move it away to begin anew"),
            ),
        };
        Error::new(kind, message).with_source(error)
    })?;
    serde_json::from_slice(&plain).map_err(|error| {
        // The message of the parser may quote a value, so only its place is kept.
        let (shown, line, column) = (file.display(), error.line(), error.column());
        let message =
            format!("{shown} does not hold a JSON object of names and texts: see line {line} column {column}");
        Error::new(ErrorKind::Malformed, message)
    })
}

/// Encrypts `values` for `file`.
pub(super) fn seal(file: &Path, values: &Values, key: &Key) -> Result<Vec<u8>, Error> {
    // JSON makes at most six bytes of one, and a few around each name and value.
    let size = values.iter().map(|(name, value)| 6 * (name.len() + value.expose_secret().len()) + 8).sum::<usize>() + 2;
    let mut plain = Zeroizing::new(Vec::with_capacity(size));
    serde_json::to_writer(&mut *plain, &Plain(values)).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("{} cannot be written as JSON", file.display())).with_source(error)
    })?;
    key.encrypt(&plain, file)
}

/// The one place where values are written out: into the buffer that is encrypted.
struct Plain<'a>(&'a Values);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value.expose_secret())))
    }
}
