//! Random operations against a model of what they must do: one customer, one quota, requests that are in flight while
//! others come, repeat keys, fail, are dropped, and a process that stops and starts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Desk, Folder, keyed};

const LIMIT: usize = 3;

#[derive(Clone, Debug)]
enum Operation {
    /// A request with this key comes in.
    Begin(u8),
    /// The nth request in flight is answered well or badly.
    Finish(usize, bool),
    /// The nth request in flight is dropped by its client.
    Drop(usize),
    Flush,
    Restart,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => (0..6_u8).prop_map(Operation::Begin),
        4 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(nth, well)| Operation::Finish(nth, well)),
        2 => any::<usize>().prop_map(Operation::Drop),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Restart),
    ];
    prop::collection::vec(operation, 1..40)
}

/// What must be true of one request in flight.
struct Modelled {
    key: u8,
    reserved: bool,
    call: InFlight,
}

/// A request whose handler waits to be told what to answer.
struct InFlight {
    answer: oneshot::Sender<u16>,
    response: JoinHandle<u16>,
}

/// Starts a request; `None` if it was refused with 429.
async fn begin(desk: &Desk, key: u8) -> Option<InFlight> {
    let (entered, has_entered) = oneshot::channel();
    let (answer, answered) = oneshot::channel::<u16>();
    let mut once = Some((entered, answered));
    let handler = service_fn(move |_: Request<()>| {
        let (entered, answered) = once.take().expect("called once");
        async move {
            entered.send(()).expect("somebody waits");
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(answered.await.unwrap_or(500)).expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    // One call only: the clone is never used.
    let handler = tower::util::BoxCloneService::new(CloneOnce::new(handler));
    let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
    let call = app.oneshot(keyed("acme", &key.to_string()));
    let response = desk.life.spawn("request", async move { call.await.expect("infallible").status().as_u16() });
    match has_entered.await {
        Ok(()) => Some(InFlight { answer, response }),
        Err(_refused) => {
            assert_eq!(response.await.expect("it ended"), 429);
            None
        }
    }
}

async fn run(home: &Path, operations: &[Operation]) {
    let mut desk = Desk::with_plan(home, "starter").await;
    let mut counted = BTreeSet::new();
    let mut in_flight: Vec<Modelled> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Begin(key) => {
                let reserved = in_flight.iter().filter(|request| request.reserved).count();
                let left = LIMIT - counted.len() - reserved;
                let call = begin(&desk, *key).await;
                assert_eq!(call.is_some(), left > 0 || counted.contains(key), "{left} left, {operation:?}");
                in_flight.extend(call.map(|call| Modelled { key: *key, reserved: left > 0, call }));
            }
            Operation::Finish(nth, well) if !in_flight.is_empty() => {
                let request = in_flight.remove(nth % in_flight.len());
                let status = if *well { 200 } else { 500 };
                request.call.answer.send(status).expect("the handler waits");
                assert_eq!(request.call.response.await.expect("it ended"), status);
                if *well && request.reserved {
                    counted.insert(request.key);
                }
            }
            Operation::Drop(nth) if !in_flight.is_empty() => {
                let request = in_flight.remove(nth % in_flight.len());
                request.call.response.abort();
                request.call.response.await.expect_err("it was dropped");
            }
            Operation::Flush => desk.billing.flush(Duration::from_secs(5)).await.expect("flushed"),
            Operation::Restart => {
                for request in in_flight.drain(..) {
                    request.call.response.abort();
                    request.call.response.await.expect_err("it was dropped");
                }
                desk.stop().await;
                desk = Desk::open(home).await;
            }
            Operation::Finish(..) | Operation::Drop(_) => {}
        }
        assert_eq!(desk.used("acme").await, counted.len() as u64, "after {operation:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_the_model_says(operations in operations()) {
        let folder = Folder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(&folder.home(), &operations));
    }
}

/// Gives a service that cannot be cloned to the layer that must be able to.
struct CloneOnce<S>(Option<S>);

impl<S> CloneOnce<S> {
    fn new(service: S) -> Self {
        Self(Some(service))
    }
}

impl<S> Clone for CloneOnce<S> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<S: tower::Service<Request<()>>> tower::Service<Request<()>> for CloneOnce<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.as_mut().map_or(std::task::Poll::Pending, |service| service.poll_ready(cx))
    }

    fn call(&mut self, request: Request<()>) -> S::Future {
        self.0.as_mut().expect("the one that was polled ready").call(request)
    }
}
