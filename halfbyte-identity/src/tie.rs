//! Streams that end with the credential that opened them: WebSockets, server-sent events, gRPC streams.
//!
//! A request is checked once, when it comes. What stays open for longer has to be told when the credential expires or is
//! revoked: a body by [`Tie::body`], a stream by [`Tie::stream`], and a loop of your own by [`Tie::ended`].
//!
//! ```
//! use halfbyte_core::Principal;
//! use halfbyte_identity::Identity;
//!
//! # async fn next_message() -> Option<String> { None }
//! # async fn answer(_: String) {}
//! async fn web_socket(identity: &Identity, caller: &Principal) {
//!     let tie = identity.tie(caller);
//!     loop {
//!         tokio::select! {
//!             _ending = tie.ended() => break, // close with 1008, policy violation
//!             message = next_message() => match message {
//!                 Some(message) => answer(message).await,
//!                 None => break,
//!             },
//!         }
//!     }
//! }
//! ```
//!
//! As a response of axum, which breaks off where the client must know that something is missing:
//!
//! ```
//! use axum::body::Body;
//! use axum::extract::State;
//! use axum::response::Response;
//! use halfbyte_core::{Principal, problem};
//! use halfbyte_identity::Identity;
//!
//! # fn export() -> Body { Body::empty() }
//! async fn download(State(identity): State<Identity>, caller: Principal, context: problem::Context) -> Response {
//!     Response::new(Body::new(identity.tie(&caller).body(export(), context.grpc)))
//! }
//! ```
//!
//! Server-sent events, whose clients connect again by themselves, are tied by `Sse::new(tie.stream(events))`.
//!
//! # What it hears of
//!
//! Expiry, and what [`Revocations`](crate::Revocations) of this process are told, by the product or by a logout token of the
//! issuer: at once. An API key that is revoked, or a token that is revoked at the embedded issuer, by whatever process:
//! within ten seconds. What an issuer elsewhere revokes without a logout token ends no stream that is open.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use halfbyte_core::{BoxError, Principal};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::authenticator::Authenticator;

/// A principal, and how to hear that his credential is no longer good. Cheap to clone.
#[derive(Clone)]
pub struct Tie {
    principal: Principal,
    authenticator: Authenticator,
}

/// Why a credential is no longer good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Expired => "the credential has expired",
            Ending::Revoked => "the credential was revoked",
        })
    }
}

impl std::error::Error for Ending {}

/// Nobody pushes that the wall clock was set or that another process has revoked something: it is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Tie {
    pub(crate) fn new(principal: &Principal, authenticator: &Authenticator) -> Self {
        Self { principal: principal.clone(), authenticator: authenticator.clone() }
    }

    /// Resolves when the credential has expired or is revoked. Cancel safe.
    pub fn ended(&self) -> impl Future<Output = Ending> + Send + 'static {
        let Self { principal, authenticator } = self.clone();
        async move {
            let parts = authenticator.parts();
            let mut pushes = parts.revocations.subscribe();
            loop {
                pushes.mark_unchanged();
                if authenticator.has_ended(&principal).await {
                    return Ending::Revoked;
                }
                let left = principal.expires_at().duration_since(parts.clock.now());
                let Ok(left) = Duration::try_from(left) else { return Ending::Expired };
                if left.is_zero() {
                    return Ending::Expired;
                }
                // A push may be about somebody else; the sender lives as long as the authenticator does.
                let _pushed = tokio::time::timeout(left.min(LOOK_AGAIN), pushes.changed()).await;
            }
        }
    }

    /// A stream that ends when the credential does.
    pub fn stream<S: Stream>(&self, stream: S) -> Tied<S> {
        Tied { inner: stream, ended: Box::pin(self.ended()), over: false, grpc: false }
    }

    /// A response body that ends when the credential does: by an error, so that nobody takes what came for all there is, or
    /// over gRPC by the status `UNAUTHENTICATED`.
    pub fn body<B: Body<Data = Bytes>>(&self, body: B, grpc: bool) -> Tied<B> {
        Tied { inner: body, ended: Box::pin(self.ended()), over: false, grpc }
    }
}

pin_project! {
    /// A stream or a body that ends with its credential, from [`Tie`].
    pub struct Tied<S> {
        #[pin]
        inner: S,
        ended: Pin<Box<dyn Future<Output = Ending> + Send>>,
        over: bool,
        grpc: bool,
    }
}

impl<S: Stream> Stream for Tied<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.over || this.ended.as_mut().poll(cx).is_ready() {
            *this.over = true;
            return Poll::Ready(None);
        }
        this.inner.poll_next(cx)
    }
}

impl<B> Body for Tied<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(ending) = this.ended.as_mut().poll(cx) {
            *this.over = true;
            return Poll::Ready(Some(if *this.grpc {
                Ok(Frame::trailers(status(ending)))
            } else {
                Err(ending.into())
            }));
        }
        this.inner.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What is announced must come, and it may not.
        SizeHint::default()
    }
}

/// `UNAUTHENTICATED` of gRPC.
fn status(ending: Ending) -> HeaderMap {
    let message = match ending {
        Ending::Expired => "the credential has expired",
        Ending::Revoked => "the credential was revoked",
    };
    HeaderMap::from_iter([
        (HeaderName::from_static("grpc-status"), HeaderValue::from_static("16")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static(message)),
    ])
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tie").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Tied<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tied").field("over", &self.over).finish_non_exhaustive()
    }
}
