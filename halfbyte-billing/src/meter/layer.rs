use std::num::NonZeroU64;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tower_layer::Layer;

use super::rules::{Amount, Bill, Dimensions, Rules};
use super::{Answered, Meter};
use crate::entitle::Asked;

/// Counts what [`EntitleLayer`](crate::EntitleLayer), directly further out, reserved; made by
/// [`Billing::meter`](crate::Billing::meter).
///
/// A response with a status below 400 and without a `grpc-status` other than 0 counts: the use is in the journal before the
/// response goes out, and outlives the process. Any other response gives the reservation back, and so do an error of the
/// service and a client that hangs up before the head of the response.
///
/// It counts what was reserved, unless [`units_of_response`](Self::units_of_response),
/// [`units_of_body`](Self::units_of_body) or [`at_end_of_body`](Self::at_end_of_body) says otherwise (the last of them that is
/// called), or the handler does by [`Entitled::settle_units`](crate::Entitled::settle_units), whose word goes before all. Of
/// less than was reserved, the rest is given back. More is counted out of what is left of the quota, and beyond it where it
/// is used up: what was delivered is counted. 0 units are not recorded.
///
/// The `grpc-status` of a gRPC response with a body stands in its trailers; until then the reservation is held, and a call
/// that failed is not counted. A client that hangs up before, with bytes of the response in its hands, is counted.
///
/// When the use cannot be recorded (a full disk), the response is replaced by 503 `unavailable`, or the body, where it is
/// settled at its end, ends with an error in place of its last frame: nothing is given away, and the client tries again
/// under the same key.
///
/// A request without a reservation, such as one of a boolean feature, goes through untouched.
#[derive(Clone, Debug)]
pub struct MeterLayer(Arc<Rules>);

impl MeterLayer {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Counts as many units as `units` says of a response that counts; for `None`, what was reserved.
    ///
    /// ```
    /// # fn example(billing: &halfbyte_billing::Billing) {
    /// let meter = billing.meter().units_of_response(|answered| {
    ///     answered.headers.get("x-labels-made")?.to_str().ok()?.parse().ok()
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn units_of_response(self, units: impl Fn(&Answered<'_>) -> Option<u64> + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.amount = Amount::OfResponse(Arc::new(units)))
    }

    /// Counts the bytes of response bodies: `unit` of them are a unit, and what is begun counts.
    ///
    /// It is settled when the body ends, when it fails, or when the client hangs up: once, by the bytes that the connection
    /// took. Trailers are not counted. A body that was not sent to its end does not use up its idempotency key, so that who
    /// asks again under the same key is counted again, for what he gets then.
    #[must_use]
    pub fn units_of_body(self, unit: NonZeroU64) -> Self {
        self.with(|rules| rules.amount = Amount::OfBody(unit))
    }

    /// Settles when the body of the response ends, fails, or its client hangs up, in place of before its head goes out: for a
    /// handler that knows only while it sends how many units it is, and says so by
    /// [`Entitled::settle_units`](crate::Entitled::settle_units) as it goes. Its last word counts; without one, what was
    /// reserved. A body of which nothing was sent is not counted, unless it is empty; one that was not sent to its end
    /// does not use up its idempotency key.
    #[must_use]
    pub fn at_end_of_body(self) -> Self {
        self.with(|rules| rules.amount = Amount::AtEnd)
    }

    /// Whether refused and failed responses of the service count as well. They do not unless this says so.
    #[must_use]
    pub fn bill_failures(self, bill: bool) -> Self {
        self.with(|rules| rules.bill = if bill { Bill::All } else { Bill::Good })
    }

    /// Counts the responses that `bill` says, by status and headers, in place of those that went well.
    ///
    /// For a gRPC response it is asked when the body has ended, and finds the trailers among the headers; if the body did
    /// not come to its end they are not there.
    #[must_use]
    pub fn bill_when(self, bill: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.bill = Bill::Chosen(Arc::new(bill)))
    }

    /// Keeps usage apart by what `dimensions` says of a request: the text of a JSON object of at most 4 KiB, whose members
    /// a meter can filter and group by. One that is not is left out, and the use is counted without; the log says so once.
    ///
    /// ```
    /// # fn example(billing: &halfbyte_billing::Billing) {
    /// let meter = billing.meter().dimensions(|asked| {
    ///     let express = asked.uri.path().starts_with("/express");
    ///     Some(format!(r#"{{"express":{express}}}"#))
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn dimensions(self, dimensions: impl Fn(&Asked<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.dimensions = Some(Dimensions::new(dimensions)))
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter::new(inner, self.0.clone())
    }
}
