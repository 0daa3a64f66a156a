use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::Entry;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroize;

use super::{Format, Hosts, Outbound};
use crate::{Error, ErrorKind, Secret, Snapshot};

/// What a layer and its services share.
pub(super) struct Injector<T: Zeroize> {
    pub(super) secret: Secret<T>,
    pub(super) hosts: Hosts,
    pub(super) format: Format,
    pub(super) allow_plaintext: bool,
    /// Made once for each generation.
    made: ArcSwapOption<Made>,
}

struct Made {
    generation: u64,
    value: HeaderValue,
}

impl<T: Zeroize> Injector<T> {
    pub(super) fn new(secret: Secret<T>, hosts: Hosts) -> Self {
        let made = ArcSwapOption::empty();
        Self { secret, hosts, format: Format::bearer(), allow_plaintext: false, made }
    }

    /// The same for another layer, which makes headers of its own.
    pub(super) fn fresh(&self) -> Self {
        let Self { secret, hosts, format, allow_plaintext, .. } = self;
        let (secret, hosts, format) = (secret.clone(), hosts.clone(), format.clone());
        Self { secret, hosts, format, allow_plaintext: *allow_plaintext, made: ArcSwapOption::empty() }
    }

    pub(super) fn may_have(&self, request: &impl Outbound) -> bool {
        let target = request.target();
        target.is_some_and(|target| (target.is_https || self.allow_plaintext) && self.hosts.contain(&target))
    }
}

impl<T: AsRef<[u8]> + Zeroize + Send + Sync + 'static> Injector<T> {
    /// The current generation and its header.
    pub(super) fn current(&self) -> Result<(u64, HeaderValue), Error> {
        self.of(&self.secret.load()?)
    }

    /// The header of `snapshot`, as it was made before if it was.
    pub(super) fn of(&self, snapshot: &Snapshot<T>) -> Result<(u64, HeaderValue), Error> {
        let generation = snapshot.generation();
        match &*self.made.load() {
            Some(made) if made.generation == generation => Ok((generation, made.value.clone())),
            _ => self.make(generation, snapshot.expose_secret()),
        }
    }

    #[cold]
    fn make(&self, generation: u64, secret: &T) -> Result<(u64, HeaderValue), Error> {
        let value = self.format.value(secret.as_ref()).ok_or_else(|| {
            let name = self.secret.name();
            let message =
                format!("the secret {name} is not what a header can hold: is it empty, or has it a line end?");
            Error::new(ErrorKind::Malformed, message)
        })?;
        self.made.rcu(|made| match made {
            Some(newer) if newer.generation >= generation => Some(newer.clone()),
            _ => Some(Arc::new(Made { generation, value: value.clone() })),
        });
        Ok((generation, value))
    }

    /// Takes off what would carry the secret to a host that may not have it.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        // An entry makes room for one more, which an ordinary request need not pay for.
        if !headers.contains_key(&self.format.name) {
            return;
        }
        if let Entry::Occupied(entry) = headers.entry(&self.format.name) {
            let known = self.known();
            let carries = |header: &HeaderValue| known.iter().any(|value| self.format.carries(header, value));
            if entry.iter().any(carries) {
                let (name, values) = entry.remove_entry_mult();
                let others: Vec<_> = values.filter(|value| !carries(value)).collect();
                headers.extend(others.into_iter().map(|value| (name.clone(), value)));
            }
        }
    }

    /// The values that the secret has or had of late.
    #[cold]
    fn known(&self) -> Vec<HeaderValue> {
        let mut known = Vec::with_capacity(3);
        if let Ok(current) = self.secret.load() {
            known.extend(self.format.value(current.expose_secret().as_ref()));
        }
        if let Some(previous) = self.secret.previous() {
            known.extend(self.format.value(previous.expose_secret().as_ref()));
        }
        // Also while the secret is too old to be loaded.
        known.extend(self.made.load().as_ref().map(|made| made.value.clone()));
        known
    }
}

impl<T: Zeroize> fmt::Debug for Injector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, hosts, format, allow_plaintext, .. } = self;
        f.debug_struct("Injector")
            .field("secret", secret)
            .field("hosts", hosts)
            .field("format", format)
            .field("allow_plaintext", allow_plaintext)
            .finish_non_exhaustive()
    }
}
