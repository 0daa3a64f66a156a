//! Export of usage events to another system: every event that counts, in order, at least once, resumable.
//!
//! ```no_run
//! use halfbyte_billing::export::{Export, HttpDestination, HttpFormat};
//! use halfbyte_core::client::Client;
//!
//! # fn example(key: secrecy::SecretString) -> Result<Export, Box<dyn std::error::Error>> {
//! let url = "https://openmeter.example.com/api/v1/events".parse()?;
//! let openmeter = HttpDestination::new(Client::new()?, url, HttpFormat::CloudEventsBatch).bearer(move || key.clone())?;
//! let export = Export::new("openmeter", openmeter)?;
//! # Ok(export) }
//! ```
//!
//! # What it guarantees
//!
//! - **At least once.** How far an export has come is kept in the store and moves on only once the destination has
//!   confirmed. A process that dies in between sends a few events again, which destinations tell by their message id:
//!   source and id, joined by `#`.
//! - **In order**, the order in which the store took the events, one request after the other.
//! - **One process at a time.** A claim in the store is renewed every 10 seconds; when its holder dies, another process goes
//!   on within 35 seconds, and within 5 when it stopped in good order.
//! - **Nothing is left out silently.** An event that the destination refuses for good holds up those behind it: the export
//!   finds out which one it is, sends everything before it, and says so in the health check `billing.export.NAME` until
//!   the destination takes it.
//! - **Bounded.** One batch is in memory, and one request is under way. After a failure it waits half a second, then
//!   twice as long each time up to a minute, less up to half of that at random; or as long as the destination asks.
//!
//! # What it does not do
//!
//! It is no second ledger: a destination that forgets what it confirmed is not told again. A process whose claim ran out
//! while a request was under way (it was suspended, say) may have that one request arrive after those of its successor.

mod claim;
mod cloud_event;
mod exporter;
mod http;
#[cfg(test)]
mod http_tests;
mod lago;
#[cfg(test)]
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod outbox;
mod pace;
mod settings;
mod status;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use halfbyte_core::TenantId;

pub use self::exporter::Exporter;
pub use self::http::{HttpDestination, HttpFormat};
#[cfg(feature = "nats")]
pub use self::nats::NatsDestination;
pub(crate) use self::outbox::{Bell, Outbox, Position};
pub use self::settings::Export;
pub use self::status::{ExportState, ExportStats};
use crate::Event;
/// The client of NATS, in the version whose connections [`NatsDestination`] takes.
#[cfg(feature = "nats")]
pub use async_nats;

/// A future that is boxed, so that traits with it can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where events are exported to.
pub trait Destination: Send + Sync + 'static {
    /// Sends `events`, of which there is at least one, in this order; answers how many of them, counted from the front,
    /// are safe there, at least one. It may stop early, at a limit of its own for one request, and is then called for the
    /// rest. Events may have been sent before: it tells them apart by source and id.
    ///
    /// The future is dropped when the process loses its claim, or stops and the answer does not come within two seconds.
    ///
    /// # Errors
    ///
    /// Not even the first of them is known to be safe.
    fn send<'a>(&'a self, events: &'a [Exported]) -> BoxFuture<'a, Result<usize, SendError>>;
}

/// An event on its way out.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What the export has done once this event is safe.
    pub(crate) position: Position,
    tenant: TenantId,
    event: Event,
}

impl Exported {
    /// An event of `tenant`; for tests of a [`Destination`].
    pub fn new(tenant: TenantId, event: Event) -> Self {
        Self::at(Position::START, tenant, event)
    }

    pub(crate) fn at(position: Position, tenant: TenantId, event: Event) -> Self {
        Self { position, tenant, event }
    }

    /// Who pays for it.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// Why a destination did not take events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    message: Box<str>,
    retry_in: Option<Duration>,
    permanent: bool,
}

impl SendError {
    /// The destination cannot be reached or is not able to take anything now. `message` is for people and holds no
    /// secret.
    pub fn failed(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), retry_in: None, permanent: false }
    }

    /// It will not take these events, however often they are sent. Of several, they are then sent in smaller and smaller
    /// numbers, until it is known which one is refused.
    pub fn refused(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), retry_in: None, permanent: true }
    }

    /// Adds how long the destination asks to be left alone. At most an hour is waited.
    pub fn retry_in(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.retry_in = wait.into();
        self
    }

    /// Whether the same events would be refused again.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SendError {}
