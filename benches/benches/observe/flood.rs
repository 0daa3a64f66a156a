//! Requests of more routes and tenants than anyone wants series of.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use halfbyte::core::{Caller, Principal, TenantId};
use halfbyte::observe::{Instrumentation, Route, ServerLayer};
use halfbyte_benches::count;
use http::{Request, Response};
use stats_alloc::Region;
use tower::{Layer as _, Service as _, service_fn};

use crate::peers::{self, Body, Nowhere};

const REQUESTS: usize = 1_000_000;
const ROUTES: usize = 10_000;
const TENANTS: usize = 1_000;

pub fn run() {
    let routes: Vec<Route> = (0..ROUTES).map(|n| Route::new(format!("/labels/{n}/{{id}}"))).collect();
    let principals: Vec<Principal> = (0..TENANTS)
        .map(|n| {
            let tenant = TenantId::new(format!("tenant-{n}")).expect("valid");
            Principal::builder("ada", tenant, "2100-01-01T00:00:00Z".parse().expect("a time")).build()
        })
        .collect();
    let region = Region::new(crate::ALLOCATOR);
    let metrics = peers::metrics();
    let layer = ServerLayer::with(&Instrumentation::ending_in(Arc::new(Nowhere), &metrics)).tenants(100);
    let mut turn = 0;
    let principals = &principals;
    let mut service = layer.layer(service_fn(move |_: Request<Body>| {
        turn += 1;
        Caller::tell(&principals[turn % TENANTS]);
        async { Ok::<_, Infallible>(Response::new(Body::default())) }
    }));
    let mut measure = |from: usize, to: usize| {
        for n in from..to {
            let mut request = Request::new(Body::default());
            request.extensions_mut().insert(routes[n % ROUTES].clone());
            let answer = pin!(service.call(request));
            drop(answer.poll(&mut Context::from_waker(Waker::noop())));
        }
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    };
    let early = measure(0, REQUESTS / 10);
    let late = measure(REQUESTS / 10, REQUESTS);
    count("observe.flood.bytes_after_100000", early);
    count("observe.flood.bytes_after_1000000", late);
}
