//! What the layers cost a request, in allocations.

use std::convert::Infallible;
use std::future::Ready;
use std::num::NonZeroU64;

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::util::ServiceFn;
use tower::{Layer as _, Service, service_fn};

use crate::support::{Desk, Folder, request};

const REQUESTS: u64 = 64;

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn handler() -> ServiceFn<fn(Request<()>) -> Answer> {
    service_fn(|_| std::future::ready(Ok(Response::new(Full::from(Bytes::from_static(b"a label"))))))
}

/// Allocations of one request, on average; the first one leases a tranche.
async fn counted<S, B>(mut app: S) -> f64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body + Unpin,
{
    drop(app.call(request("acme")).await);
    let requests: Vec<_> = (0..REQUESTS).map(|_| request("acme")).collect();
    let counted = measure(|| {
        for request in requests {
            let response = app.call(request).now_or_never().expect("it need not wait").expect("infallible");
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            while body.frame().now_or_never().expect("it need not wait").is_some() {}
        }
    });
    counted.count_total as f64 / REQUESTS as f64
}

#[tokio::test]
async fn entitle_and_meter_together_allocate_at_most_three_times_a_request() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "endless").await;
    let entitle = desk.billing.entitle("labels").expect("there");
    let bare = counted(handler()).await;
    assert_eq!(bare, 0.0);
    for meter in [desk.billing.meter(), desk.billing.meter().units_of_body(NonZeroU64::new(64).expect("not zero"))] {
        let both = counted(entitle.clone().layer(meter.layer(handler()))).await;
        // Two for each request, and now and then the queue of the committer grows.
        assert!((2.0..=2.5).contains(&both), "{both}");
    }
}

#[tokio::test]
async fn a_boolean_feature_allocates_once() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let entitle = desk.billing.entitle("tracking").expect("there");
    assert_eq!(counted(entitle.layer(desk.billing.meter().layer(handler()))).await, 1.0);
}
