//! Units that a request asks for, and that a response turns out to be.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use halfbyte_billing::{Asked, EntitleLayer, MeterLayer};
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Desk, Folder, keyed, request};

/// As many as the header `x-units` says.
fn asked(asked: &Asked<'_>) -> u64 {
    asked.headers.get("x-units").map_or(1, |units| units.to_str().expect("text").parse().expect("a number"))
}

fn of(desk: &Desk) -> EntitleLayer {
    desk.billing.entitle("labels").expect("there").units(asked)
}

fn wanting(units: u64, mut request: Request<()>) -> Request<()> {
    request.headers_mut().insert("x-units", units.into());
    request
}

/// Sends it to a handler that answers well, with the headers of the request.
async fn send(entitle: EntitleLayer, meter: MeterLayer, request: Request<()>) -> Response<crate::support::Body> {
    let handler = service_fn(async |request: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.headers_mut() = request.headers().clone();
        Ok::<_, Infallible>(response)
    });
    entitle.layer(meter.layer(handler)).oneshot(request).await.expect("infallible")
}

async fn status(desk: &Desk, units: u64) -> u16 {
    send(of(desk), desk.billing.meter(), wanting(units, request("acme"))).await.status().as_u16()
}

#[tokio::test]
async fn a_request_reserves_as_many_units_as_it_asks_for_or_none() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    // More than a tranche, out of what was leased and what is leased for it.
    for (units, expected) in [(1, 200), (440, 200), (60, 429), (59, 200), (1, 429)] {
        assert_eq!(status(&desk, units).await, expected, "{units}");
    }
    assert_eq!(desk.used("acme").await, 500);
}

#[tokio::test]
async fn a_refusal_says_how_much_is_left() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    assert_eq!(status(&desk, 1).await, 200);
    let response = send(of(&desk), desk.billing.meter(), wanting(3, request("acme"))).await;
    assert_eq!(response.status(), 429);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert!(header("ratelimit-policy").starts_with("\"labels\";q=3;w="), "{}", header("ratelimit-policy"));
    assert!(header("ratelimit").starts_with("\"labels\";r=2;t="), "{}", header("ratelimit"));
    assert!(header("retry-after").parse::<u64>().expect("a number") > 0);
    assert_eq!(status(&desk, u64::MAX).await, 429);
    assert_eq!(status(&desk, 2).await, 200, "a refusal keeps nothing");
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn who_asks_for_more_than_is_left_does_not_keep_it_from_another_process() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let other = Desk::open(&folder.home()).await;
    assert_eq!(status(&desk, 4).await, 429);
    assert_eq!(status(&other, 3).await, 200);
    assert_eq!(desk.used("acme").await, 0, "of other processes it is known later");
    assert_eq!(other.used("acme").await, 3);
}

#[tokio::test]
async fn who_asks_for_nothing_is_let_in_when_the_quota_is_used_up_if_he_has_the_feature() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    assert_eq!((status(&desk, 3).await, status(&desk, 1).await, status(&desk, 0).await), (200, 429, 200));
    assert_eq!(desk.used("acme").await, 3);
    let stranger = send(of(&desk), desk.billing.meter(), wanting(0, request("nobody"))).await;
    assert_eq!(stranger.status(), 403);
}

#[tokio::test]
async fn a_response_may_turn_out_to_be_less_or_more_than_was_reserved() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let meter = || {
        desk.billing.meter().units_of_response(|answered| answered.headers.get("x-made")?.to_str().ok()?.parse().ok())
    };
    let mut used = 0;
    for (reserved, made, units) in [(5, Some(2), 2), (5, Some(9), 9), (0, Some(3), 3), (5, Some(0), 0), (5, None, 5)] {
        let mut request = wanting(reserved, request("acme"));
        if let Some(made) = made {
            request.headers_mut().insert("x-made", made.into());
        }
        assert_eq!(send(of(&desk), meter(), request).await.status(), 200);
        used += units;
        assert_eq!(desk.used("acme").await, used, "{reserved} {made:?}");
    }
    // What was given back is there to be used, and what was taken in addition is not.
    assert_eq!((status(&desk, 500 - used).await, status(&desk, 1).await), (200, 429));
    assert_eq!(desk.used("acme").await, 500);
}

#[tokio::test]
async fn a_response_that_is_more_than_is_left_is_counted_and_the_next_is_refused() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let meter = desk.billing.meter().units_of_response(|_| Some(u64::MAX));
    assert_eq!(send(of(&desk), meter.clone(), request("acme")).await.status(), 200);
    assert_eq!(desk.used("acme").await, 1_000_000_000_000_000, "the most that counts");
    assert_eq!(send(of(&desk), meter, request("acme")).await.status(), 429);
}

#[tokio::test]
async fn a_key_counts_once_with_the_amount_that_was_first() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    for units in [7, 7, 9] {
        let request = wanting(units, keyed("acme", "one"));
        assert_eq!(send(of(&desk), desk.billing.meter(), request).await.status(), 200);
    }
    assert_eq!((desk.used("acme").await, desk.billing.stats().conflicts), (7, 1));
    assert_eq!(status(&desk, 493).await, 200, "what was not counted is free again");
}

#[tokio::test]
async fn the_product_may_say_which_answers_are_paid_for() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let call = async |meter: MeterLayer, status: u16| {
        let handler = service_fn(move |_: Request<()>| {
            let response = Response::builder().status(status).body(Full::<Bytes>::default()).expect("built");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let app = desk.billing.entitle("labels").expect("there").layer(meter.layer(handler));
        app.oneshot(request("acme")).await.expect("infallible");
        desk.used("acme").await
    };
    let meter = || desk.billing.meter();
    assert_eq!(call(meter().bill_failures(true), 500).await, 1);
    assert_eq!(call(meter().bill_failures(true).bill_failures(false), 500).await, 1);
    let not_found = |status: http::StatusCode, _: &http::HeaderMap| status == 404;
    assert_eq!(call(meter().bill_when(not_found), 200).await, 1);
    assert_eq!(call(meter().bill_when(not_found), 404).await, 2);
}

#[tokio::test]
async fn dimensions_that_are_wrong_do_not_keep_a_use_from_being_counted() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    for text in ["{\"region\":\"eu\"}", "eu"] {
        let meter = desk.billing.meter().dimensions(move |_| Some(text.into()));
        assert_eq!(send(of(&desk), meter, request("acme")).await.status(), 200);
    }
    assert_eq!(desk.used("acme").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_ask_for_many_units_never_get_more_than_the_limit_and_get_all_of_it() {
    let folder = Folder::new();
    let desk = Arc::new(Desk::with_plan(&folder.home(), "pro").await);
    let granted = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..24_u64 {
        let (desk, granted) = (desk.clone(), granted.clone());
        tasks.spawn(async move {
            for round in 0..8 {
                let units = (task * 7 + round * 3) % 11;
                if status(&desk, units).await == 200 {
                    granted.fetch_add(units, Ordering::Relaxed);
                }
            }
        });
    }
    tasks.join_all().await;
    while status(&desk, 1).await == 200 {
        granted.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!((granted.load(Ordering::Relaxed), desk.used("acme").await), (500, 500));
}

#[tokio::test]
async fn a_use_counts_though_its_dimensions_are_more_than_an_event_can_hold() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
    let meter = desk.billing.meter().dimensions(move |_| Some(deep.clone()));
    assert_eq!(send(of(&desk), meter, request("acme")).await.status(), 200);
    assert_eq!(desk.used("acme").await, 1);
}
