use tower_layer::Layer;

use super::Meter;

/// Counts what [`EntitleLayer`](crate::EntitleLayer), further out, reserved; made by
/// [`Billing::meter`](crate::Billing::meter).
///
/// A response with a status below 400 and without a `grpc-status` other than 0 in its head counts: the use is in the
/// journal before the response goes out, and outlives the process. Any other response gives the reservation back, and so
/// do an error of the service and a client that hangs up before the head of the response.
///
/// When the use cannot be recorded (a full disk), the response is replaced by 503 `unavailable`: nothing is given away, and
/// the client tries again under the same key.
///
/// A request without a reservation, such as one of a boolean feature, goes through untouched.
#[derive(Clone, Debug)]
pub struct MeterLayer(());

impl MeterLayer {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter::new(inner)
    }
}
