use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::body::{Guarded, Refusable};
use halfbyte_core::{Problem, problem};
use halfbyte_identity::layers::AnsweredByLayer;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::limit::Limit;
use super::waiting::waited;

/// Bounds the requests at once; one more is refused at once, not queued.
///
/// With a floor ([`adaptive`](Self::adaptive)) the bound follows the time that requests take until their response begins: while it is
/// used up, it shrinks as long as fewer at once are faster, since those had been waiting for each other, and grows otherwise. A
/// handler that is slow by nature does not shrink it. What was refused further in, what failed, and whom a client hung up on tell
/// nothing of how long requests take, and do not move it; neither does what the layers inside answer themselves, nor the time in which a
/// request waits for its own body. Responses that are streamed hold their place up to their end, and
/// are bounded by the ceiling alone.
///
/// The time is tokio's, which tests can pause.
#[derive(Clone, Debug)]
pub struct LoadShedLayer {
    limit: Arc<Limit>,
    retry_after: Duration,
}

/// A body of a known length up to this is taken to be complete, in bytes.
const IN_MEMORY: u64 = 64 * 1024;

impl LoadShedLayer {
    /// At most `in_flight` requests, over all clones; a client is asked to wait `retry_after`.
    pub fn new(in_flight: usize, retry_after: Duration) -> Self {
        Self::adaptive(in_flight, in_flight, retry_after)
    }

    /// At most as many requests as do not wait for each other, over all clones, from `floor` to `ceiling`, where it begins; a client is
    /// asked to wait `retry_after`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use halfbyte::layers::LoadShedLayer;
    ///
    /// let layer = LoadShedLayer::adaptive(16, 1024, Duration::from_secs(1));
    /// assert_eq!(layer.limit(), 1024);
    /// ```
    pub fn adaptive(floor: usize, ceiling: usize, retry_after: Duration) -> Self {
        Self { limit: Arc::new(Limit::new(floor, ceiling)), retry_after }
    }

    /// How many requests may be handled at once, as of now.
    pub fn limit(&self) -> usize {
        self.limit.limit()
    }

    /// How many requests there are whose response has not begun.
    pub fn handling(&self) -> u64 {
        self.limit.in_flight().0
    }

    /// How many responses there are that are streamed and have not ended.
    pub fn streaming(&self) -> u64 {
        self.limit.in_flight().1
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { inner, layer: self.clone() }
    }
}

/// The service of [`LoadShedLayer`].
#[derive(Clone, Debug)]
pub struct LoadShed<S> {
    inner: S,
    layer: LoadShedLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for LoadShed<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<Refusable<Guarded<ResBody, Arc<Place>>>>;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match Place::take(&self.layer.limit) {
            Some(place) => {
                let waited = Duration::ZERO;
                LoadShedFuture { admitted: Some(self.inner.call(request)), place: Some(place), waited, refusal: None }
            }
            None => {
                let refusal = Some((problem::Context::of(&request), self.layer.retry_after));
                LoadShedFuture { admitted: None, place: None, waited: Duration::ZERO, refusal }
            }
        }
    }
}

/// The place of a request among those at once, which it gives back when it is dropped.
#[derive(Debug)]
pub struct Place {
    limit: Arc<Limit>,
    entered: u64,
    is_sending: bool,
}

impl Place {
    fn take(limit: &Arc<Limit>) -> Option<Self> {
        let entered = limit.enter()?;
        Some(Self { limit: limit.clone(), entered, is_sending: false })
    }

    /// Goes on to the sending of the response.
    fn sending(mut self) -> Self {
        self.limit.send();
        self.is_sending = true;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limit.leave(self.is_sending);
    }
}

/// Keeps the place of a response that is large or streamed for as long as its bytes are not sent, which only the connection knows.
#[derive(Clone, Debug)]
pub(crate) struct Sending(#[expect(dead_code, reason = "the place is kept as long as this is there")] Arc<Place>);

pin_project! {
    /// The future of [`LoadShed`].
    pub struct LoadShedFuture<F> {
        #[pin]
        admitted: Option<F>,
        place: Option<Place>,
        // For its own body.
        waited: Duration,
        refusal: Option<(problem::Context, Duration)>,
    }
}

impl<F, B, E> Future for LoadShedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<Refusable<Guarded<B, Arc<Place>>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(admitted) = this.admitted.as_pin_mut() else {
            let (context, retry_after) = this.refusal.unwrap_or_default();
            return Poll::Ready(Ok(Problem::overloaded(retry_after).to_response(&context)));
        };
        let (polled, waited) = waited(|| admitted.poll(cx));
        *this.waited += waited;
        let mut response = match ready!(polled) {
            Ok(response) => response,
            Err(error) => {
                *this.place = None;
                return Poll::Ready(Err(error));
            }
        };
        let place = this.place.take();
        if let Some(place) = place.as_ref().filter(|_| was_handled(&response)) {
            place.limit.measure(place.entered, *this.waited);
        }
        // What is in memory is work no more: a client that does not read it must not keep others out.
        let is_sent_at_once = response.body().size_hint().exact().is_some_and(|bytes| bytes <= IN_MEMORY);
        let place = place.filter(|_| !is_sent_at_once).map(|place| Arc::new(place.sending()));
        if let Some(place) = &place {
            // The body may be gone long before its bytes are.
            response.extensions_mut().insert(Sending(place.clone()));
        }
        Poll::Ready(Ok(response.map(|body| Refusable::inner(Guarded::maybe(body, place)))))
    }
}

/// Whether the work was done, or would have taken longer than there was time for. What ends early for another reason is
/// no measure of it: whoever sends bad tokens would make good requests look slow beside theirs.
fn was_handled<B>(response: &Response<B>) -> bool {
    if response.extensions().get::<AnsweredByLayer>().is_some() {
        return false;
    }
    match response.extensions().get::<problem::Kind>() {
        Some(refused) => *refused == problem::Kind::DeadlineExceeded,
        None => !response.status().is_client_error() && !response.status().is_server_error(),
    }
}
