use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::{BoxFuture, Exported};
use crate::Error;

/// A place in the outbox, in the words of the outbox, which alone knows the order of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position(Option<Arc<str>>);

impl Position {
    /// Before the first event.
    pub(crate) const START: Self = Self(None);

    /// The place that `text` names; the empty text is the start.
    pub(crate) fn new(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The events of the store in a lasting order, and how far each export has come in it.
pub(crate) trait Outbox: Send + Sync + 'static {
    /// Takes or renews the claim on the export `name` for `ttl` from now, and answers how far it has come; `None` while
    /// another holder has it. With a `ttl` of zero the claim is given up.
    fn claim<'a>(
        &'a self,
        name: &'a str,
        holder: Uuid,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Option<Position>, Error>>;

    /// The next events after `after`, at most `limit`. No event is ever added before one that was answered.
    fn read<'a>(&'a self, after: &'a Position, limit: usize) -> BoxFuture<'a, Result<Vec<Exported>, Error>>;

    /// Keeps that the export has come to `to`, durably; answers whether `holder` still has the claim. If not,
    /// nothing is changed.
    fn advance<'a>(&'a self, name: &'a str, holder: Uuid, to: &'a Position) -> BoxFuture<'a, Result<bool, Error>>;
}

/// Tells the exporters of this process that there is something new in the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<watch::Sender<()>>);

impl Default for Bell {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl Bell {
    /// After a commit. Costs next to nothing while nobody listens.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    /// Hears every ring from now on; several that were not waited for are heard as one.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
