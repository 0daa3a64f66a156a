//! Tells when the files of a folder may have changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use halfbyte_core::live::Policy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::inotify::Notices;

/// How often a watched folder is looked at all the same: a watch misses what is changed on another machine, under a new mount,
/// or behind a link.
const NET: Duration = Duration::from_secs(30);

/// How often a folder is looked at that is not watched, and one with which something is wrong.
const POLL: Duration = Duration::from_secs(1);

/// A change is told of again to who asks so shortly after it: he may have been reading when it was told of.
const ECHO: Duration = Duration::from_millis(100);

/// And once more after this long, for a read that took longer.
const LATE_ECHO: Duration = Duration::from_secs(1);

pub(super) fn policy() -> Policy {
    Policy { fresh_for: NET, max_backoff: POLL, ..Policy::default() }
}

/// A folder under watch. Whoever waits drives it, so that there is no task behind it.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    /// `None` if the system has no watches left.
    notices: Option<Arc<Notices>>,
    /// The same, made where there is a runtime.
    driven: OnceLock<Option<AsyncFd<Arc<Notices>>>>,
    /// Whether the folder was being watched when it was last read.
    is_on: AtomicBool,
    /// When one of those who wait last heard of a change, for the others.
    heard: watch::Sender<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            notices: Notices::open().ok().map(Arc::new),
            driven: OnceLock::new(),
            is_on: AtomicBool::new(false),
            heard: watch::Sender::new(None),
        }
    }

    /// Call it before each read: what changes after this is told of. The folder may be another one than the last time; for the
    /// same one it changes nothing.
    pub(super) fn before_read(&self) {
        let is_on = self.notices.as_ref().is_some_and(|notices| notices.watch(&self.folder));
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Resolves after a change, or each second where changes are not told of. Cancel safe: what nobody has heard waits in the
    /// operating system.
    pub(super) async fn changed(&self) {
        let mut others = self.heard.subscribe();
        let last = *others.borrow_and_update();
        if last.is_some_and(|at| at.elapsed() < ECHO) {
            return;
        }
        let late = last.map(|at| at + LATE_ECHO).filter(|late| *late > Instant::now());
        tokio::select! {
            _ = others.changed() => {}
            () = sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {}
            () = self.listen() => {}
        }
    }

    async fn listen(&self) {
        let driven = self.driven.get_or_init(|| register(self.notices.clone()?));
        if let Some(driven) = driven
            && self.is_on.load(Ordering::Relaxed)
        {
            while let Ok(mut ready) = driven.readable().await {
                match ready.try_io(|notices| notices.get_ref().drain()) {
                    Ok(Ok(true)) => {
                        self.heard.send_replace(Some(Instant::now()));
                        return;
                    }
                    Ok(Ok(false)) | Err(_) => {}
                    Ok(Err(_)) => break,
                }
            }
        }
        sleep(POLL).await;
    }
}

#[expect(deprecated, reason = "unsound only for a type that does not own its one descriptor, and this one does")]
fn register(notices: Arc<Notices>) -> Option<AsyncFd<Arc<Notices>>> {
    AsyncFd::with_interest(notices, Interest::READABLE).ok()
}
