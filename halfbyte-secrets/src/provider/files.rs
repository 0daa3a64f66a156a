use std::path::{Path, PathBuf};

use halfbyte_core::live::Policy;
use secrecy::zeroize::Zeroizing;

use super::{Contents, blocking, only_current, read, stamp, watched};
use crate::{Ask, Error, ErrorKind, Provider, Reading, Version};

/// `file:///dir`: the secret `db-password` is the file `db-password` in the folder.
///
/// As Kubernetes, systemd and Docker mount them. One newline at the end is not part of the value. A file is at most
/// 64 KiB and not empty: an empty one is taken for one that is being written. Symbolic links are followed anew by each read,
/// so the swap of `..data` shows within a second.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

const LIMIT: usize = 64 * 1024;

impl Files {
    /// Takes secrets from `folder`, which may come later.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

impl Provider for Files {
    const NAME: &'static str = "file:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let path = self.0.join(name.as_str());
        let known = known.cloned();
        blocking(move || look(&path, known.as_ref()).map_err(|error| without_folder(&path, error))).await
    }

    fn policy(&self) -> Policy {
        watched()
    }
}

fn look(path: &Path, known: Option<&Version>) -> Result<Reading, Error> {
    if known.is_some() && stamp(path).is_ok_and(|stamp| stamp.is(known)) {
        return Ok(Reading::unchanged());
    }
    let Contents { mut bytes, stamp } = read(path, LIMIT)?;
    trim_newline(&mut bytes);
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Malformed, format!("{} is empty", path.display())));
    }
    Ok(Reading { value: Some(bytes), version: stamp.settled(), lease: None })
}

fn trim_newline(bytes: &mut Zeroizing<Vec<u8>>) {
    for end in [b'\n', b'\r'] {
        if bytes.last() != Some(&end) {
            break;
        }
        bytes.pop();
    }
}

/// A folder that is not mounted does not say that it lacks a secret.
fn without_folder(path: &Path, error: Error) -> Error {
    match path.parent() {
        Some(folder) if error.is_not_found() && !folder.is_dir() => {
            Error::new(ErrorKind::Unavailable, format!("the folder {} is not there", folder.display()))
        }
        _ => error,
    }
}
