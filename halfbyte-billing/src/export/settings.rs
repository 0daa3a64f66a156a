use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Destination;
use crate::{Error, ErrorKind};

const LONGEST_NAME: usize = 64;
const LARGEST_BATCH: usize = 1000;

/// What is exported to where.
#[derive(Clone)]
pub struct Export {
    pub(super) name: Arc<str>,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) batch: usize,
    pub(super) poll: Duration,
}

impl Export {
    /// An export to `destination`. How far it has come is kept in the store under `name`: an export under another name
    /// begins with the first event that the store has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: `name` is not a lower-case letter and up to 63 lower-case letters, digits or hyphens after it.
    pub fn new(name: &str, destination: impl Destination) -> Result<Self, Error> {
        let starts_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let goes_on_well = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !starts_well || !goes_on_well || name.len() > LONGEST_NAME {
            let rule = "a lower-case letter, then up to 63 of a-z, 0-9 and '-'";
            return Err(Error::new(ErrorKind::Invalid, format!("not a valid name of an export: it must be {rule}")));
        }
        let (batch, poll) = (256, Duration::from_secs(1));
        Ok(Self { name: name.into(), destination: Arc::new(destination), batch, poll })
    }

    /// How many events are read and sent at once. Default 256, from 1 to 1000; a destination may take fewer.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events.clamp(1, LARGEST_BATCH);
        self
    }

    /// How often the store is asked for events of other processes; those of this process are exported at once. Default one
    /// second, at least 10 milliseconds.
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every.max(Duration::from_millis(10));
        self
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("name", &self.name)
            .field("batch", &self.batch)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Sink;
    use super::*;

    #[test]
    fn a_name_fits_into_health_checks_and_tables() {
        assert!(Export::new(&"n".repeat(64), Sink::default()).is_ok());
        for bad in ["", "2nats", "Nats", "na ts", "nats.eu", &"n".repeat(65)] {
            let error = Export::new(bad, Sink::default()).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
