use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName};

use super::reservation::Claim;
use super::{Gate, Pass, Reservation};
use crate::{Basis, IdempotencyKey};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// That a request was let in, in its extensions: for the meter, and for the handler.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// The gate, if nothing is reserved: a reservation has one.
    gate: Option<Arc<Gate>>,
    pub(super) remaining: Option<u64>,
    pub(super) basis: Basis,
    pub(super) repetition: bool,
    /// Of a metered feature, unless it is a repetition.
    pub(super) reservation: Option<Reservation>,
    /// By the entitle layer before.
    outer: Option<Arc<Granted>>,
}

impl Granted {
    /// Puts it where the meter and the handler find it.
    pub(super) fn attach(pass: Pass, gate: &Arc<Gate>, headers: &HeaderMap, extensions: &mut Extensions) {
        let reservation = pass.held.map(|(hold, at)| Reservation::new(gate.clone(), hold, sent_key(headers), at));
        let granted = Self {
            gate: reservation.is_none().then(|| gate.clone()),
            remaining: pass.remaining,
            basis: pass.basis,
            repetition: pass.repetition,
            reservation,
            outer: extensions.remove::<Granted>().map(Arc::new),
        };
        extensions.insert(granted);
    }

    /// That of `feature`.
    pub(super) fn find<'a>(extensions: &'a Extensions, feature: &str) -> Option<&'a Granted> {
        Self::all(extensions).find(|granted| granted.feature() == Some(feature))
    }

    /// The right to settle what the innermost entitle layer reserved that has no meter yet.
    pub(crate) fn claim(extensions: &Extensions) -> Option<Claim> {
        Self::all(extensions).find_map(|granted| granted.reservation.as_ref()?.claim())
    }

    fn feature(&self) -> Option<&str> {
        let reserved = self.reservation.as_ref().map(Reservation::gate);
        reserved.or(self.gate.as_deref()).map(Gate::feature)
    }

    /// From the inside out.
    fn all(extensions: &Extensions) -> impl Iterator<Item = &Granted> {
        std::iter::successors(extensions.get::<Granted>(), |granted| granted.outer.as_deref())
    }
}

/// The key that the client sent.
pub(super) fn sent_key(headers: &HeaderMap) -> Option<IdempotencyKey> {
    headers.get(IDEMPOTENCY_KEY).map(|sent| IdempotencyKey::of(sent.as_bytes()))
}
