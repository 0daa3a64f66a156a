use std::num::NonZeroU64;
use std::time::Duration;

use halfbyte_billing::entitle::{Asked, Entitle, EntitleLayer};
use halfbyte_billing::meter::{Answered, Meter, MeterLayer};
use halfbyte_identity::layers::{Require, RequireLayer};
use http::{HeaderMap, StatusCode};
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

/// What a route asks of its caller, from [`Guard::feature`]: a principal with scopes, whose plan has a feature.
///
/// One unit of a metered feature is reserved before the handler runs, and recorded when it has succeeded. A route that is
/// worth more says so by [`units`](Self::units); one that knows only afterwards, by one of the other setters, which are those
/// of [`MeterLayer`], or in its handler by [`Entitled`](halfbyte_billing::Entitled).
///
/// ```no_run
/// # fn example(platform: &halfbyte::Platform) -> Result<(), halfbyte::Error> {
/// // 10 are reserved, and what was made is counted, apart for each region.
/// let labels = platform
///     .require(&["labels:write"])
///     .feature("labels")?
///     .units(|_asked| 10)
///     .units_of_response(|answered| answered.headers.get("x-labels-made")?.to_str().ok()?.parse().ok())
///     .dimensions(|asked| asked.uri.path().starts_with("/eu/").then(|| r#"{"region":"eu"}"#.to_owned()));
/// # Ok(()) }
/// ```
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

impl FeatureGuard {
    /// Reserves as many units as `units` says of a request, in place of one: see [`EntitleLayer::units`].
    #[must_use]
    pub fn units(self, units: impl Fn(&Asked<'_>) -> u64 + Send + Sync + 'static) -> Self {
        Self { entitle: self.entitle.units(units), ..self }
    }

    /// Counts as many units as `units` says of a response: see [`MeterLayer::units_of_response`].
    #[must_use]
    pub fn units_of_response(self, units: impl Fn(&Answered<'_>) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { meter: self.meter.units_of_response(units), ..self }
    }

    /// Counts the bytes of response bodies, `unit` of them to a unit: see [`MeterLayer::units_of_body`].
    #[must_use]
    pub fn units_of_body(self, unit: NonZeroU64) -> Self {
        Self { meter: self.meter.units_of_body(unit), ..self }
    }

    /// Counts when the body of the response has ended, by what the handler says: see [`MeterLayer::at_end_of_body`].
    #[must_use]
    pub fn at_end_of_body(self) -> Self {
        Self { meter: self.meter.at_end_of_body(), ..self }
    }

    /// Counts refused and failed responses of the handler as well: see [`MeterLayer::bill_failures`].
    #[must_use]
    pub fn bill_failures(self, bill: bool) -> Self {
        Self { meter: self.meter.bill_failures(bill), ..self }
    }

    /// Counts the responses that `bill` says: see [`MeterLayer::bill_when`].
    #[must_use]
    pub fn bill_when(self, bill: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self { meter: self.meter.bill_when(bill), ..self }
    }

    /// Keeps usage apart by what `dimensions` says of a request: see [`MeterLayer::dimensions`].
    #[must_use]
    pub fn dimensions(self, dimensions: impl Fn(&Asked<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { meter: self.meter.dimensions(dimensions), ..self }
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
