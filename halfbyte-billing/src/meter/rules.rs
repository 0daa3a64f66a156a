//! What is billed, and how much of it.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Extensions, HeaderMap, Response, StatusCode};

use super::dimensions::{self, Rejected};
use crate::entitle::Asked;

/// A response as the layer shows it to a product's function: all but its body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What the handler has put there.
    pub extensions: &'a Extensions,
}

impl<'a> Answered<'a> {
    /// A view of `response`.
    pub fn of<B>(response: &'a Response<B>) -> Self {
        Self { status: response.status(), headers: response.headers(), extensions: response.extensions() }
    }
}

/// What a [`MeterLayer`](super::MeterLayer) was told.
#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) amount: Amount,
    pub(super) bill: Bill,
    pub(super) dimensions: Option<Dimensions>,
}

/// Units of a response; `None` for what was reserved.
type UnitsOf = Arc<dyn Fn(&Answered<'_>) -> Option<u64> + Send + Sync>;
/// Whether a response is paid for.
type Choice = Arc<dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync>;
/// The dimensions of a request.
type DimensionsOf = Arc<dyn Fn(&Asked<'_>) -> Option<String> + Send + Sync>;

/// How much a good response is.
#[derive(Clone, Default)]
pub(super) enum Amount {
    /// What was reserved.
    #[default]
    Reserved,
    OfResponse(UnitsOf),
    /// Bytes of the body, so many to a unit.
    OfBody(NonZeroU64),
    /// What the handler says by the end of the body.
    AtEnd,
}

/// Which responses are paid for.
#[derive(Clone, Default)]
pub(super) enum Bill {
    #[default]
    Good,
    All,
    Chosen(Choice),
}

impl Bill {
    /// Whether a response with these headers is paid for; trailers are headers here.
    pub(super) fn wants(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match self {
            Bill::Good => status.as_u16() < 400 && rpc_status(headers).is_none_or(|ok| ok),
            Bill::All => true,
            Bill::Chosen(chosen) => chosen(status, headers),
        }
    }
}

/// Whether a gRPC call went well, if it is said here.
pub(super) fn rpc_status(headers: &HeaderMap) -> Option<bool> {
    headers.get("grpc-status").map(|status| status == "0")
}

/// What a use is kept apart by.
#[derive(Clone)]
pub(super) struct Dimensions {
    of: DimensionsOf,
    /// A product that gets it wrong does so for every request.
    complained: Arc<AtomicBool>,
}

impl Dimensions {
    pub(super) fn new(of: impl Fn(&Asked<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { of: Arc::new(of), complained: Arc::default() }
    }

    /// Those of a request, if they are what they must be.
    pub(super) fn of(&self, asked: &Asked<'_>) -> Option<Box<str>> {
        match dimensions::checked((self.of)(asked)?) {
            Ok(data) => Some(data),
            Err(rejected) => {
                self.complain(&rejected);
                None
            }
        }
    }

    fn complain(&self, rejected: &Rejected) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = %rejected,
                "the dimensions of a use are left out; the function given to MeterLayer::dimensions has to be mended"
            );
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = match self.amount {
            Amount::Reserved => "reserved",
            Amount::OfResponse(_) => "of response",
            Amount::OfBody(_) => "of body",
            Amount::AtEnd => "at end",
        };
        let bill = match self.bill {
            Bill::Good => "good",
            Bill::All => "all",
            Bill::Chosen(_) => "chosen",
        };
        f.debug_struct("Rules")
            .field("amount", &amount)
            .field("bill", &bill)
            .field("dimensions", &self.dimensions.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_failures_are_not_paid_for_unless_the_product_says_so() {
        for (status, grpc, good) in [
            (200, None, true),
            (201, Some("0"), true),
            (302, None, true),
            (400, None, false),
            (409, None, false),
            (500, None, false),
            (200, Some("13"), false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut headers = HeaderMap::new();
            if let Some(grpc) = grpc {
                headers.insert("grpc-status", grpc.parse().expect("a header"));
            }
            assert_eq!(Bill::Good.wants(status, &headers), good, "{status} {grpc:?}");
            assert!(Bill::All.wants(status, &headers));
            let teapots = Bill::Chosen(Arc::new(|status, _| status == 409));
            assert_eq!(teapots.wants(status, &headers), status == 409);
        }
    }

    #[test]
    fn dimensions_that_are_wrong_are_left_out_and_others_are_kept() {
        let request = http::Request::builder().uri("/eu").body(()).expect("built");
        let dimensions = Dimensions::new(|asked| match asked.uri.path() {
            "/eu" => Some(r#"{"region":"eu"}"#.into()),
            "/none" => None,
            _ => Some("eu".into()),
        });
        assert_eq!(dimensions.of(&Asked::of(&request)).as_deref(), Some(r#"{"region":"eu"}"#));
        assert!(!dimensions.complained.load(Ordering::Relaxed));
        for path in ["/none", "/wrong", "/wrong"] {
            let request = http::Request::builder().uri(path).body(()).expect("built");
            assert_eq!(dimensions.of(&Asked::of(&request)), None, "{path}");
            assert_eq!(dimensions.complained.load(Ordering::Relaxed), path == "/wrong");
        }
    }
}
