//! Time in which a request waits for its client and nobody else.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    /// Of the request that is polled.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What comes of `poll`, and how long a body that it polled has been waited for until then.
pub(crate) fn waited<T>(poll: impl FnOnce() -> T) -> (T, Duration) {
    let around = WAITED.take();
    let outcome = poll();
    (outcome, WAITED.replace(around))
}

/// Tells how long a body is waited for, to who polls its request.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Instant>);

impl Waiting {
    /// The body was polled.
    pub(crate) fn polled<T>(&mut self, outcome: &Poll<T>) {
        if self.0.is_none() && outcome.is_ready() {
            return;
        }
        let now = Instant::now();
        if let Some(since) = self.0.take() {
            WAITED.set(WAITED.get().saturating_add(now.duration_since(since)));
        }
        self.0 = outcome.is_pending().then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Future, poll_fn};

    use halfbyte_core::body::Refusable;
    use http::{Request, Response};
    use http_body_util::Full;
    use tokio::time::{sleep, timeout};
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;
    use crate::layers::{DeadlineLayer, LoadShedLayer};

    type Body = Full<bytes::Bytes>;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A body that comes after `time`.
    async fn body(time: Duration) {
        let (mut waiting, mut comes) = (Waiting::default(), Box::pin(sleep(time)));
        poll_fn(|cx| {
            let polled = comes.as_mut().poll(cx);
            waiting.polled(&polled);
            polled
        })
        .await;
    }

    /// The limit after ten seconds of many clients, whose requests wait for their bodies for as long as `body_takes` has it, and are then
    /// worked on for as long as `work_takes` has it, by the limit in force.
    async fn limit_after(body_takes: fn(u32) -> Duration, work_takes: fn(u32) -> Duration) -> usize {
        let layer = LoadShedLayer::adaptive(4, 64, Duration::from_secs(1));
        let handler = layer.clone();
        let service = service_fn(move |_: Request<Body>| {
            let limit = u32::try_from(handler.limit()).unwrap();
            async move {
                body(body_takes(limit)).await;
                sleep(work_takes(limit)).await;
                Ok::<_, Infallible>(Response::new(Body::default()))
            }
        });
        let service = layer.layer(DeadlineLayer::new(300 * MILLISECOND).layer(service));
        let client = async || {
            loop {
                let answer: Response<Refusable<_>> =
                    service.clone().oneshot(Request::new(Body::default())).await.unwrap();
                drop(answer);
                sleep(20 * MILLISECOND).await;
            }
        };
        let clients = futures_util::future::join_all((0..100).map(|_| client()));
        let _still_there = timeout(10_000 * MILLISECOND, clients).await;
        layer.limit()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_bodies_that_come_slowly_does_not_move_the_limit() {
        // As where requests wait for each other; and as by somebody who sends them so slowly that there is no time left for them.
        for slowly in [|limit| MILLISECOND * limit, |limit| MILLISECOND * 6 * limit] {
            assert_eq!(limit_after(slowly, |_| MILLISECOND).await, 64);
        }
        assert!(limit_after(|_| MILLISECOND, |limit| MILLISECOND * limit).await < 16, "nothing is measured at all");
        assert!(limit_after(|_| 50 * MILLISECOND, |limit| MILLISECOND * limit).await < 32, "slow bodies hide the work");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_counts_for_the_request_that_is_polled_and_for_as_long_as_it_is_waited_for() {
        let mut both = Box::pin(async {
            body(100 * MILLISECOND).await;
            sleep(50 * MILLISECOND).await;
            body(30 * MILLISECOND).await;
        });
        let mut all = Duration::ZERO;
        poll_fn(|cx| {
            let (polled, time) = waited(|| both.as_mut().poll(cx));
            all += time;
            polled
        })
        .await;
        assert!((130 * MILLISECOND..135 * MILLISECOND).contains(&all), "{all:?}");
        let (inner, outer) = waited(|| waited(|| WAITED.set(MILLISECOND)).1);
        assert_eq!((inner, outer), (MILLISECOND, Duration::ZERO));
    }
}
