use std::time::Duration;

use halfbyte_billing::entitle::{Entitle, EntitleLayer};
use halfbyte_billing::meter::{Meter, MeterLayer};
use halfbyte_identity::layers::{Require, RequireLayer};
use tower::Layer;

use crate::error::Error;
use crate::platform::Platform;

/// What a route asks of its caller, from [`Platform::require`]: a principal with scopes, and a role, a sign-in or the tenant
/// in the path where it says so. What is missing is refused in the order of [`RequireLayer`].
///
/// ```no_run
/// # use std::time::Duration;
/// # fn example(platform: &halfbyte::Platform) -> Result<(), halfbyte::Error> {
/// let refund = platform
///     .require(&["refunds:write"])
///     .role("treasurer")
///     .max_age(Duration::from_secs(300))
///     .tenant_in_path("/tenants/{tenant}")
///     .feature("refunds")?;
/// # Ok(()) }
/// ```
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
    /// Asks for a role as well; called again, for that one too.
    #[must_use]
    pub fn role(self, role: &str) -> Self {
        Self { require: self.require.role(role), ..self }
    }

    /// Asks for a sign-in as strong as one of `values` (`acr`), the preferred one first.
    #[must_use]
    pub fn acr(self, values: &[&str]) -> Self {
        Self { require: self.require.acr(values), ..self }
    }

    /// Asks for a sign-in that is not longer ago (`auth_time`); see [`RequireLayer::max_age`].
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        Self { require: self.require.max_age(age), ..self }
    }

    /// Asks that the tenant in the path is the principal's; see [`RequireLayer::tenant_in_path`].
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one segment `{tenant}`.
    #[must_use]
    pub fn tenant_in_path(self, pattern: &str) -> Self {
        Self { require: self.require.tenant_in_path(pattern), ..self }
    }

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
