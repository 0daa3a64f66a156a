use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::{Asked, Entitle, Gate, Units};
use crate::FeatureKind;

/// Lets in only tenants whose plan has a feature; made by [`Billing::entitle`](crate::Billing::entitle).
///
/// It reads the [`Principal`](halfbyte_core::Principal) that identity put into the request's extensions, and refuses with
/// the [`Problem`](halfbyte_core::Problem) of the one table:
///
/// | situation | problem |
/// |---|---|
/// | no principal | 401 `unauthenticated` |
/// | past due, or what was paid for in advance is used up | 402 `payment-required` |
/// | the plan lacks the feature, or the tenant has no plan or is not known | 403 `not-entitled` |
/// | metered, and the quota is used up, or not as much is left as the request asks for | 429 `quota-exhausted` |
/// | the store cannot be reached and no good copy is left, or nothing can be recorded | 503 `unavailable` |
///
/// For a metered feature one unit is reserved, or as many as [`units`](Self::units) says, under the request's
/// `Idempotency-Key`, any bytes, or under a unique key if there is none. [`MeterLayer`](crate::MeterLayer), directly further
/// in, settles it. A request whose key has been counted is let in also when the quota is used up, and costs nothing:
/// [`Entitled::is_repetition`](super::Entitled::is_repetition) tells the handler, who sees to it that no second piece of
/// work is done.
///
/// A decision does no I/O, except for the request that needs a new tranche of a quota or that would be refused: that one
/// waits for the store, 2 seconds at most. Cancelling it is safe: what it had reserved is given back.
#[derive(Clone)]
pub struct EntitleLayer {
    gate: Arc<Gate>,
    units: Option<Units>,
}

impl EntitleLayer {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate: Arc::new(gate), units: None }
    }

    /// The meter that counts the feature's use, if one does.
    pub fn meter(&self) -> Option<&str> {
        match &self.gate.feature_of().kind {
            FeatureKind::Metered(meter) => Some(meter),
            _ => None,
        }
    }

    /// Reserves as many units as `units` says of a request, in place of one. They are there for the handler, all or none:
    /// a request that asks for more than is left is refused, however much is left.
    ///
    /// With 0 units nothing is reserved, and whoever has the feature is let in, also when its quota is used up. What the
    /// meter then counts is recorded all the same.
    ///
    /// ```
    /// # fn example(billing: &halfbyte_billing::Billing) -> Result<(), halfbyte_billing::Error> {
    /// let entitle = billing.entitle("labels")?.units(|asked| {
    ///     let wanted = asked.headers.get("x-labels").and_then(|value| value.to_str().ok());
    ///     wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(1)
    /// });
    /// # Ok(()) }
    /// ```
    ///
    /// It is called for every request, before anything is decided, and must not wait for anything.
    #[must_use]
    pub fn units(self, units: impl Fn(&Asked<'_>) -> u64 + Send + Sync + 'static) -> Self {
        Self { units: Some(Arc::new(units)), ..self }
    }
}

impl fmt::Debug for EntitleLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntitleLayer").field("feature", &self.gate.feature()).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for EntitleLayer {
    type Service = Entitle<S>;

    fn layer(&self, inner: S) -> Entitle<S> {
        Entitle::new(inner, self.gate.clone(), self.units.clone())
    }
}
