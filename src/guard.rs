use halfbyte_billing::entitle::{Entitle, EntitleLayer};
use halfbyte_billing::meter::{Meter, MeterLayer};
use halfbyte_identity::layers::{Require, RequireLayer};
use tower::Layer;

use crate::error::Error;
use crate::platform::Platform;

/// What a route asks of its caller, from [`Platform::require`]: a principal with scopes.
///
/// As a `route_layer` it stands around one route. With [`feature`](Self::feature) the route also asks for a feature of the plan.
#[derive(Clone, Debug)]
pub struct Guard {
    pub(crate) platform: Platform,
    pub(crate) require: RequireLayer,
}

/// What a route asks of its caller: a principal with scopes, whose plan has a feature. One unit of a metered feature is
/// reserved before the handler runs, and recorded when it has succeeded.
#[derive(Clone, Debug)]
pub struct FeatureGuard {
    require: RequireLayer,
    entitle: EntitleLayer,
    meter: MeterLayer,
}

impl Guard {
    /// Asks for `feature` of the catalogue as well.
    ///
    /// # Errors
    ///
    /// The catalogue has no such feature for this product.
    pub fn feature(&self, feature: &str) -> Result<FeatureGuard, Error> {
        let billing = self.platform.billing();
        let entitle = billing.entitle(feature)?;
        self.platform.manifest().add_feature(feature);
        Ok(FeatureGuard { require: self.require.clone(), entitle, meter: billing.meter() })
    }
}

impl<S> Layer<S> for Guard {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        self.require.layer(inner)
    }
}

impl<S> Layer<S> for FeatureGuard {
    type Service = Require<Entitle<Meter<S>>>;

    fn layer(&self, service: S) -> Self::Service {
        let service = self.meter.layer(service); // a refused or failed request is never billed
        let service = self.entitle.layer(service); // needs to know who pays
        self.require.layer(service) // callers are not told the price of what they may not do
    }
}
