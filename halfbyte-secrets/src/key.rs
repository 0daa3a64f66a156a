//! The key of an encrypted file.

use std::io::Read as _;
use std::iter;
use std::path::Path;

use age::x25519::Identity;
use age::{DecryptError, Decryptor, EncryptError};
use halfbyte_core::home::Home;
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use crate::{Error, ErrorKind};

/// An age key: what it encrypts, it decrypts. In a file of its own (mode 0600) it looks as `age-keygen` writes one.
pub(crate) struct Key(Identity);

impl Key {
    /// The key in `text`, of which comments and empty lines are no part; `None` if there is not one.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        match (lines.next(), lines.next()) {
            (Some(line), None) => str::from_utf8(line).ok()?.parse().ok().map(Self),
            _ => None,
        }
    }

    /// The key in the file `name`; `None` if there is no such file.
    pub(crate) fn read(folder: &Home, name: &str) -> Result<Option<Self>, Error> {
        let path = folder.path().join(name);
        let Some(content) = folder.read_private(name).map_err(|error| Error::of_file(&path, error))? else {
            return Ok(None);
        };
        match Self::parse(&Zeroizing::new(content)) {
            Some(key) => Ok(Some(key)),
            None => {
                let path = path.display();
                let message =
                    format!("{path} does not hold an age key (AGE-SECRET-KEY-1...): restore it from a backup");
                Err(Error::new(ErrorKind::Malformed, message))
            }
        }
    }

    /// A new key in the file `name`; call it under the lock, when there is neither a key nor a file that needs one.
    pub(crate) fn make(folder: &Home, name: &str) -> Result<Self, Error> {
        let path = folder.path().join(name);
        let identity = Identity::generate();
        let text = identity.to_string();
        let content = Zeroizing::new(format!("# public key: {}\n{}\n", identity.to_public(), text.expose_secret()));
        folder.replace(name, content.as_bytes()).map_err(|error| Error::of_file(&path, error))?;
        Ok(Self(identity))
    }

    pub(crate) fn encrypt(&self, plain: &[u8], file: &Path) -> Result<Vec<u8>, Error> {
        age::encrypt(&self.0.to_public(), plain).map_err(|error: EncryptError| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be encrypted", file.display())).with_source(error)
        })
    }

    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let mut reader = Decryptor::new_buffered(sealed)?.decrypt(iter::once(&self.0 as _))?;
        // Of full size from the start: a buffer that grows leaves copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
        reader.read_to_end(&mut plain)?;
        Ok(plain)
    }
}
