use std::path::PathBuf;

use age::x25519::{Identity, Recipient};
use halfbyte_core::home::Home;
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use crate::{Error, ErrorKind};

pub(super) const FILE: &str = "secrets.key";

/// The key that opens the file, in a key file of its own (mode 0600) as `age-keygen` writes one.
pub(super) struct Key {
    identity: Identity,
    path: PathBuf,
}

impl Key {
    /// The key in `folder`; `None` if there is no key file.
    pub(super) fn read(folder: &Home) -> Result<Option<Self>, Error> {
        let path = folder.path().join(FILE);
        let Some(content) = folder.read_private(FILE).map_err(|error| Error::of_file(&path, error))? else {
            return Ok(None);
        };
        let content = Zeroizing::new(content);
        let mut lines = content
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        let identity = match (lines.next(), lines.next()) {
            (Some(line), None) => str::from_utf8(line).ok().and_then(|line| line.parse().ok()),
            _ => None,
        };
        match identity {
            Some(identity) => Ok(Some(Self { identity, path })),
            None => {
                let path = path.display();
                let message =
                    format!("{path} does not hold an age key (AGE-SECRET-KEY-1...): restore it from a backup");
                Err(Error::new(ErrorKind::Malformed, message))
            }
        }
    }

    /// A new key; call it under the lock, when there is neither a key nor a file.
    pub(super) fn make(folder: &Home) -> Result<Self, Error> {
        let path = folder.path().join(FILE);
        let identity = Identity::generate();
        let text = identity.to_string();
        let content = Zeroizing::new(format!("# public key: {}\n{}\n", identity.to_public(), text.expose_secret()));
        folder.replace(FILE, content.as_bytes()).map_err(|error| Error::of_file(&path, error))?;
        Ok(Self { identity, path })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn recipient(&self) -> Recipient {
        self.identity.to_public()
    }

    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }
}
