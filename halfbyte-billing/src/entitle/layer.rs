use std::sync::Arc;

use tower_layer::Layer;

use super::{Entitle, Gate};

/// Lets in only tenants whose plan has a feature; made by [`Billing::entitle`](crate::Billing::entitle).
///
/// It reads the [`Principal`](halfbyte_core::Principal) that identity put into the request's extensions, and refuses with
/// the [`Problem`](halfbyte_core::Problem) of the one table:
///
/// | situation | problem |
/// |---|---|
/// | no principal | 401 `unauthenticated` |
/// | the plan lacks the feature, or the tenant has no plan or is not known | 403 `not-entitled` |
/// | metered, and the quota is used up | 429 `quota-exhausted` |
/// | the store cannot be reached and no good copy is left, or nothing can be recorded | 503 `unavailable` |
///
/// For a metered feature one unit is reserved under the request's `Idempotency-Key`, any bytes, or under a unique key if
/// there is none. [`MeterLayer`](crate::MeterLayer), further in, settles it. A request whose key has been counted is let
/// in also when the quota is used up, and costs nothing: that it does no second piece of work is for the handler to
/// see to, by the same key.
///
/// A decision does no I/O, except for the request that needs a new tranche of a quota or that would be refused: that one
/// waits for the store, 2 seconds at most. Cancelling it is safe: what it had reserved is given back.
#[derive(Clone, Debug)]
pub struct EntitleLayer {
    gate: Arc<Gate>,
}

impl EntitleLayer {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate: Arc::new(gate) }
    }
}

impl<S> Layer<S> for EntitleLayer {
    type Service = Entitle<S>;

    fn layer(&self, inner: S) -> Entitle<S> {
        Entitle::new(inner, self.gate.clone())
    }
}
