//! One request at a time, without sockets.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use halfbyte_benches::{count, median, ratio, side_by_side};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use stats_alloc::Region;
use tower::ServiceExt as _;

use crate::ALLOCATOR;
use crate::product::{self, Asks, Failure};

const ROUNDS: usize = 60;
const BATCH: u32 = 200;

/// What each route takes over the same handler on bare axum; `name` is said before that of the route.
pub fn measure(name: &str, endpoint: Option<&str>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let platform = runtime.block_on(product::start(folder.path(), endpoint))?;
    let token = runtime.block_on(product::sign_in(&platform))?;

    // As they are served.
    let routes = Router::from(product::routes(&platform)?).layer(platform.stack()).with_state(());
    let bare = Router::new().route("/labels", any(async || "a label")).with_state(());
    for (asks, route) in Asks::ALL {
        let name = format!("{name}.{asks}");
        let request = || {
            let request = Request::builder().method(route.method()).uri("/labels");
            let request = request.header("authorization", format!("Bearer {token}"));
            request.body(Body::empty()).expect("a request")
        };
        let call = |router: &Router| runtime.block_on(answer(router.clone(), request()));
        for _ in 0..2_000 {
            assert_eq!(call(&routes), StatusCode::OK, "{name} does not let the request through");
            assert_eq!(call(&bare), StatusCode::OK);
        }
        let pair = side_by_side(ROUNDS, BATCH, || call(&routes), || call(&bare));
        ratio(&format!("{name}.vs.bare"), pair);
        count(&format!("{name}.added_nanoseconds"), pair.ours.saturating_sub(pair.theirs).as_nanos());
        let added = allocations(|| call(&routes)).saturating_sub(allocations(|| call(&bare)));
        count(&format!("{name}.added_allocations"), added);
        runtime.block_on(platform.billing().flush(Duration::from_secs(30)))?;
    }
    Ok(())
}

async fn answer(router: Router, request: Request<Body>) -> StatusCode {
    let response = router.oneshot(request).await.expect("infallible");
    let status = response.status();
    response.into_body().collect().await.expect("a body in memory");
    status
}

/// The median of the allocations of one operation: what others do in between now and then does not count.
fn allocations<T>(mut operation: impl FnMut() -> T) -> usize {
    let one = |_| {
        let region = Region::new(ALLOCATOR);
        std::hint::black_box(operation());
        region.change().allocations
    };
    median((0..1_001).map(one).collect())
}
