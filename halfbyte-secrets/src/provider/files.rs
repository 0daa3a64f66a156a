use std::path::{Path, PathBuf};
use std::sync::Arc;

use halfbyte_core::live::Policy;
use secrecy::zeroize::Zeroizing;

use super::folder::{Failure, View, read_whole};
use super::watch::Watch;
use super::{Contents, Stamp, Threads, contents, only_current};
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
///
/// A network mount that hangs is a backend that does not answer: the last known good values are served, and its reads hold four of
/// Tokio's threads for blocking work and no more. Until they end a runtime that is dropped waits for them, as for all such work:
/// end it by `Runtime::shutdown_timeout`.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    watch: Watch,
    threads: Threads,
}

const LIMIT: usize = 64 * 1024;

impl Files {
    /// Takes secrets from `folder`, which may come later.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self(Arc::new(Inner { watch: Watch::new(&folder), threads: Threads::default(), folder }))
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
        self.0.threads.run(move || read_whole(&files.folder, all)).await
    }
}

impl Provider for Files {
    const NAME: &'static str = "file:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let (files, name, known) = (self.0.clone(), name.clone(), known.cloned());
        let read = move || {
            files.watch.before_read();
            read_whole(&files.folder, |view| look(view, &name, known.as_ref()))
        };
        self.0.threads.run(read).await
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::provider::stuck::{Hung, LONG};

    #[tokio::test]
    async fn a_mount_that_hangs_holds_no_more_threads_than_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "hunter2").expect("written");
        let (files, name) = (Files::new(folder.path()), Name::new("token").expect("a name"));
        let hung = Hung::under(&files.0.threads).await;
        let soon = Duration::from_millis(20);
        timeout(soon, files.read(Ask::current(&name))).await.expect_err("it waits for a thread");
        timeout(soon, files.together(&["token"])).await.expect_err("it waits for a thread");
        let elsewhere = Files::new(folder.path());
        timeout(LONG, elsewhere.read(Ask::current(&name))).await.expect("another has its own").expect("read");
        drop(hung);
        timeout(LONG, files.read(Ask::current(&name))).await.expect("the mount is back").expect("read");
    }
}
