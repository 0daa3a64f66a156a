use std::fmt;
use std::marker::PhantomData;

use http::Extensions;

use super::Granted;
use crate::Basis;

/// The name of a feature, as a type: so that a handler's signature says what it needs.
pub trait FeatureName {
    /// As the catalogue has it.
    const NAME: &'static str;
}

/// Proof that the request went through the [`EntitleLayer`](crate::EntitleLayer) of the feature `F`, and what the layer
/// knows of it. With the feature `axum` a handler takes it as an argument:
///
/// ```
/// use halfbyte_billing::{Entitled, FeatureName};
///
/// struct Labels;
/// impl FeatureName for Labels {
///     const NAME: &'static str = "labels";
/// }
///
/// async fn make(entitled: Entitled<Labels>) -> String {
///     if entitled.is_repetition() {
///         return "the labels of before".into();
///     }
///     let made = 2;
///     entitled.settle_units(made); // it had reserved more
///     format!("{made} labels")
/// }
/// ```
///
/// A handler that asks for it where no such layer stands is answered with 500 `internal`, and the log says what is
/// missing.
pub struct Entitled<F> {
    granted: Granted,
    feature: PhantomData<fn() -> F>,
}

impl<F: FeatureName> Entitled<F> {
    /// Out of the extensions of a request; `None` if it did not go through the layer.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let granted = Granted::find(extensions, F::NAME)?.clone();
        Some(Self { granted, feature: PhantomData })
    }
}

impl<F> Entitled<F> {
    /// Units that were left after this request had reserved its own, as far as this process knows; `None` if the feature
    /// is not metered, has no limit, or it is not known.
    pub fn remaining(&self) -> Option<u64> {
        self.granted.remaining
    }

    /// What it was decided by.
    pub fn basis(&self) -> Basis {
        self.granted.basis
    }

    /// Units that are reserved for this request; 0 if the feature is not metered, and for a repetition.
    pub fn reserved(&self) -> u64 {
        self.granted.reservation.as_ref().map_or(0, |reservation| reservation.units())
    }

    /// Whether the request is known to be a repetition: its idempotency key has been counted, and nothing is reserved. The
    /// work has been paid for, and must not be done a second time.
    ///
    /// It is known of those that are let in although the quota is used up. Others are counted once all the same.
    pub fn is_repetition(&self) -> bool {
        self.granted.repetition
    }

    /// Says how many units it was, in place of what was reserved and of what the meter would count; said again, the last
    /// word counts. 0 is not recorded. At most 10^15 count.
    ///
    /// Answers whether it was in time: it is too late once the use is settled or given back, which is when the response
    /// goes out, or with [`MeterLayer::at_end_of_body`](crate::MeterLayer::at_end_of_body) and
    /// [`units_of_body`](crate::MeterLayer::units_of_body) when its body ends. There is nothing to say of a feature that is not
    /// metered, nor of a repetition.
    pub fn settle_units(&self, units: u64) -> bool {
        self.granted.reservation.as_ref().is_some_and(|reservation| reservation.say(units))
    }
}

impl<F> Clone for Entitled<F> {
    fn clone(&self) -> Self {
        Self { granted: self.granted.clone(), feature: PhantomData }
    }
}

impl<F: FeatureName> fmt::Debug for Entitled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entitled")
            .field("feature", &F::NAME)
            .field("remaining", &self.remaining())
            .field("basis", &self.basis())
            .field("reserved", &self.reserved())
            .field("is_repetition", &self.is_repetition())
            .finish()
    }
}
