use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What one part of the process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The part: `identity.keys`, `billing.store`.
    pub name: Arc<str>,
    /// Whether requests can be served with it as it is.
    pub ready: bool,
    /// One word for its state.
    pub state: &'static str,
    /// How long ago its backend last confirmed it, where that means something.
    pub age: Option<Duration>,
    /// What went wrong last, for people; never a secret.
    pub detail: Option<String>,
}

type Probe = Box<dyn Fn() -> Option<Check> + Send + Sync>;

/// The parts that readiness asks.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Probe>>>);

impl Health {
    /// Adds a part. `probe` must be quick and do no I/O; when it answers `None` the part is gone and is forgotten.
    pub fn register(&self, probe: impl Fn() -> Option<Check> + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(probe));
    }

    /// Asks every part, in the order of registration.
    pub fn report(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|probe| match probe() {
            Some(check) => {
                checks.push(check);
                true
            }
            None => false,
        });
        checks
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.report()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_gone_is_forgotten() {
        let health = Health::default();
        let part = Arc::new(());
        let weak = Arc::downgrade(&part);
        health.register(move || {
            weak.upgrade()?;
            Some(Check { name: "part".into(), ready: true, state: "fresh", age: None, detail: None })
        });
        assert_eq!(health.report().len(), 1);
        drop(part);
        assert!(health.report().is_empty());
    }
}
