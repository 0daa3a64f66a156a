use std::path::{Path, PathBuf};
use std::sync::Arc;

use halfbyte_core::live::Policy;
use secrecy::zeroize::Zeroizing;

use super::folder::{Failure, View, read_whole};
use super::watch::Watch;
use super::{Contents, Stamp, blocking, contents, only_current};
use crate::{Ask, Error, ErrorKind, Name, Provider, Reading, Version};

/// `file:///dir`: the secret `db-password` is the file `db-password` in the folder.
///
/// As Kubernetes, systemd and Docker mount them. One newline at the end is not part of the value. A file is at most
/// 64 KiB and not empty: an empty one is taken for one that is being written.
///
/// In a Kubernetes mount only what is in the target of `..data` counts, so that its swap is one change of all names: a read
/// that begins after it sees the new values only, and one that is under way sees the old ones whole or begins anew. Links are
/// followed anew by each read. Handles move on one after the other, within the same moment: values that are of use only
/// together are read by [`together`](Self::together).
///
/// The folder is watched, and looked at every 30 seconds all the same; each second where it cannot be watched: it is not there
/// yet, it is on a network file system, or the operating system has no watches left. The watch takes a Tokio runtime with I/O
/// enabled.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    watch: Watch,
}

const LIMIT: usize = 64 * 1024;

impl Files {
    /// Takes secrets from `folder`, which may come later.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self(Arc::new(Inner { watch: Watch::new(&folder), folder }))
    }

    /// Reads the values of `names` as they are at one and the same moment: a certificate and its key. That is so for a mount
    /// with a `..data` link; in a plain folder each value is whole by itself, and they may be of different moments.
    ///
    /// # Errors
    ///
    /// As each [`read`](Provider::read) of them: all are there, or none is answered.
    pub async fn together(&self, names: &[&str]) -> Result<Vec<Reading>, Error> {
        let names = names.iter().map(|name| Name::new(name)).collect::<Result<Vec<_>, _>>()?;
        let files = self.0.clone();
        let all = move |view: &View<'_>| names.iter().map(|name| look(view, name, None)).collect();
        blocking(move || read_whole(&files.folder, all)).await
    }
}

impl Provider for Files {
    const NAME: &'static str = "file:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let (files, name, known) = (self.0.clone(), name.clone(), known.cloned());
        blocking(move || {
            files.watch.before_read();
            read_whole(&files.folder, |view| look(view, &name, known.as_ref()))
        })
        .await
    }

    fn lends(&self, _: &Name) -> bool {
        false
    }

    async fn changed(&self) {
        self.0.watch.changed().await;
    }

    fn policy(&self) -> Policy {
        super::watch::policy()
    }
}

fn look(view: &View<'_>, name: &Name, known: Option<&Version>) -> Result<Reading, Failure> {
    let (file, path) = (view.file(name.as_str())?, view.path(name.as_str()));
    if known.is_some() && file.metadata().is_ok_and(|metadata| Stamp::of(&metadata).is(known)) {
        return Ok(Reading::unchanged());
    }
    let Contents { mut bytes, stamp } = contents(file, &path, LIMIT)?;
    trim_newline(&mut bytes);
    if bytes.is_empty() {
        return Err(empty(&path).into());
    }
    Ok(Reading { value: Some(bytes), version: stamp.settled(), lease: None })
}

fn empty(path: &Path) -> Error {
    Error::new(ErrorKind::Malformed, format!("{} is empty", path.display()))
}

fn trim_newline(bytes: &mut Zeroizing<Vec<u8>>) {
    for end in [b'\n', b'\r'] {
        if bytes.last() != Some(&end) {
            break;
        }
        bytes.pop();
    }
}
