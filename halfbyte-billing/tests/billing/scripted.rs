//! Response bodies that do what a test says, frame by frame, and the reading of what comes of them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use halfbyte_billing::{EntitleLayer, MeterLayer, Metered};
use halfbyte_core::BoxError;
use halfbyte_core::body::Refusable;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

#[derive(Clone, Debug)]
pub enum Step {
    Data(usize),
    Trailers(&'static str, &'static str),
    Fail,
}

/// A body of these steps. One that tells its length says so from the start, and knows its end with its last frame.
#[derive(Clone, Debug)]
pub struct Scripted {
    steps: VecDeque<Step>,
    tells_length: bool,
}

impl Scripted {
    pub fn streamed(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), tells_length: false }
    }

    pub fn of_known_length(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { tells_length: true, ..Self::streamed(steps) }
    }

    fn left(&self) -> u64 {
        self.steps.iter().map(|step| if let Step::Data(bytes) = step { *bytes as u64 } else { 0 }).sum()
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.steps.pop_front().map(|step| match step {
            Step::Data(bytes) => Ok(Frame::data(Bytes::from(vec![0; bytes]))),
            Step::Trailers(name, value) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().expect("a header"));
                Ok(Frame::trailers(trailers))
            }
            Step::Fail => Err("the script says so"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.tells_length && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.tells_length { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}

pub type Reply = Response<Refusable<Refusable<Metered<Scripted>>>>;

/// Sends `request` through both layers to a handler that answers with what `answer` makes of it.
pub async fn send(
    entitle: EntitleLayer,
    meter: MeterLayer,
    request: Request<()>,
    answer: impl Fn(&Request<()>) -> Response<Scripted> + Send + Sync + 'static,
) -> Reply {
    let answer = Arc::new(answer);
    let handler = service_fn(move |request: Request<()>| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(&request)) }
    });
    entitle.layer(meter.layer(handler)).oneshot(request).await.expect("infallible")
}

/// What a client got of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Got {
    pub bytes: usize,
    pub trailers: Option<HeaderMap>,
    pub error: Option<String>,
}

/// Reads at most `frames` frames, then hangs up.
pub async fn read(reply: Reply, frames: usize) -> Got {
    let mut body = reply.into_body();
    let mut got = Got::default();
    for _ in 0..frames {
        match body.frame().await {
            None => break,
            Some(Err(error)) => got.error = Some(text(&error)),
            Some(Ok(frame)) if frame.is_data() => got.bytes += frame.data_ref().expect("data").len(),
            Some(Ok(frame)) => got.trailers = frame.into_trailers().ok(),
        }
    }
    got
}

/// Reads all there is.
pub async fn read_all(reply: Reply) -> Got {
    read(reply, usize::MAX).await
}

fn text(error: &BoxError) -> String {
    error.to_string()
}
