use std::num::NonZeroU64;
use std::time::Duration;

use halfbyte_billing::entitle::{Asked, Entitle, EntitleLayer};
use halfbyte_billing::meter::{Answered, Meter, MeterLayer};
use halfbyte_identity::access::{Action, AuthorizeLayer, Target};
use halfbyte_identity::layers::{Require, RequireLayer};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use tower::Layer;
use tower::layer::util::Identity;

use crate::asks::Asks;
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
/// As a `route_layer` it stands around one route. With [`authorize`](Self::authorize) the route also asks the policies, and with
/// [`feature`](Self::feature) for a feature of the plan; `A` is what asks the policies.
#[derive(Clone, Debug)]
pub struct Guard<A = Identity> {
    pub(crate) platform: Platform,
    pub(crate) require: RequireLayer,
    pub(crate) authorize: A,
    pub(crate) asks: Asks,
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
pub struct FeatureGuard<A = Identity> {
    require: RequireLayer,
    authorize: A,
    entitle: EntitleLayer,
    meter: MeterLayer,
    pub(crate) asks: Asks,
}

impl Guard {
    /// Asks the policies as well whether the caller may do `action`: to its tenant as a whole, unless one of the methods that
    /// follow says what else. See [`AuthorizeLayer`].
    ///
    /// ```no_run
    /// # use halfbyte::identity::access::Action;
    /// const READ_LABEL: Action = Action::new("ReadLabel");
    ///
    /// # fn example(platform: &halfbyte::Platform) {
    /// let read = platform.require(&["labels:read"]).authorize(READ_LABEL).in_path("Label", "/labels/{id}");
    /// # }
    /// ```
    pub fn authorize(self, action: Action) -> Guard<AuthorizeLayer> {
        self.platform.declared().add_action(action);
        let authorize = self.platform.access().authorize(action);
        let asks = Asks { action: Some(action.name().to_owned()), ..self.asks };
        Guard { platform: self.platform, require: self.require, authorize, asks }
    }
}

impl Guard<AuthorizeLayer> {
    /// To the thing whose id stands in the path: see [`AuthorizeLayer::in_path`].
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one segment `{id}`.
    #[must_use]
    pub fn in_path(self, kind: &'static str, pattern: &str) -> Self {
        let asks = self.asks.found(Some(kind), format!("path {pattern}"));
        Self { authorize: self.authorize.in_path(kind, pattern), asks, ..self }
    }

    /// To the thing whose id stands in a header: see [`AuthorizeLayer::in_header`].
    #[must_use]
    pub fn in_header(self, kind: &'static str, name: HeaderName) -> Self {
        let asks = self.asks.found(Some(kind), format!("header {name}"));
        Self { authorize: self.authorize.in_header(kind, name), asks, ..self }
    }

    /// To what `find` says: see [`AuthorizeLayer::found_by`].
    #[must_use]
    pub fn found_by<T: Into<Target>>(self, find: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static) -> Self {
        let asks = self.asks.found(None, "code".to_owned());
        Self { authorize: self.authorize.found_by(find), asks, ..self }
    }
}

impl<A: Clone> Guard<A> {
    /// Asks for a role as well; called again, for that one too.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.asks.roles.push(role.to_owned());
        Self { require: self.require.role(role), ..self }
    }

    /// Asks for a sign-in as strong as one of `values` (`acr`), the preferred one first.
    #[must_use]
    pub fn acr(self, values: &[&str]) -> Self {
        let asks = Asks { acr: values.iter().map(|value| (*value).to_owned()).collect(), ..self.asks };
        Self { require: self.require.acr(values), asks, ..self }
    }

    /// Asks for a sign-in that is not longer ago (`auth_time`); see [`RequireLayer::max_age`].
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        let asks = Asks { max_age_seconds: Some(age.as_secs()), ..self.asks };
        Self { require: self.require.max_age(age), asks, ..self }
    }

    /// Asks that the tenant in the path is the principal's; see [`RequireLayer::tenant_in_path`].
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one segment `{tenant}`.
    #[must_use]
    pub fn tenant_in_path(self, pattern: &str) -> Self {
        let asks = Asks { tenant_in_path: Some(pattern.to_owned()), ..self.asks };
        Self { require: self.require.tenant_in_path(pattern), asks, ..self }
    }

    /// Asks for `feature` of the catalogue as well.
    ///
    /// # Errors
    ///
    /// The catalogue has no such feature for this product.
    pub fn feature(&self, feature: &str) -> Result<FeatureGuard<A>, Error> {
        let billing = self.platform.billing();
        let entitle = billing.entitle(feature)?;
        self.platform.declared().add_feature(feature);
        let meter = entitle.meter().map(str::to_owned);
        let asks = Asks { feature: Some(feature.to_owned()), meter, ..self.asks.clone() };
        let (require, authorize) = (self.require.clone(), self.authorize.clone());
        Ok(FeatureGuard { require, authorize, entitle, meter: billing.meter(), asks })
    }
}

impl<A> FeatureGuard<A> {
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

impl<S, A: Layer<S>> Layer<S> for Guard<A> {
    type Service = Require<A::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        self.require.layer(self.authorize.layer(inner))
    }
}

impl<S, A: Layer<Entitle<Meter<S>>>> Layer<S> for FeatureGuard<A> {
    type Service = Require<A::Service>;

    fn layer(&self, service: S) -> Self::Service {
        let service = self.meter.layer(service); // a refused or failed request is never billed
        let service = self.entitle.layer(service); // needs to know who pays
        let service = self.authorize.layer(service); // callers are not told the price of what they may not do
        self.require.layer(service) // what the token lacks is known before anything is loaded
    }
}
