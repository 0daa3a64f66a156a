//! Carries what the exporters made to the collector, on a thread and a runtime of its own.
//!
//! The SDK drives its exporters from plain threads, where an async client has no runtime; and what sends telemetry
//! must neither wait for the product's runtime nor be seen by it. So this thread has a runtime of its own, and on it
//! telemetry is suppressed: nothing that sending does is traced or exported.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::error_chain;
use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// The thread; clones share it, and it ends with the last of them or when it is [stopped](Self::stop).
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    // Bounded by its callers: each signal has one batch on its way at a time.
    jobs: mpsc::UnboundedSender<Job>,
    stop: CancellationToken,
    last_error: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct Job {
    request: Request<Bytes>,
    timeout: Duration,
    reply: oneshot::Sender<Result<Response<Bytes>, HttpError>>,
}

impl Courier {
    pub(crate) fn start() -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            // A header with a credential never goes where it was not addressed to.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("halfbyte-observe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::setup("the client that sends telemetry cannot be made", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // The threads that look names up; never let go, since they do nothing else.
            .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
            .build()
            .map_err(|error| Error::setup("the runtime that sends telemetry cannot be made", error))?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let courier = Self { jobs, stop: CancellationToken::new(), last_error: Arc::default() };
        let stop = courier.stop.clone();
        std::thread::Builder::new()
            .name("halfbyte-otlp".into())
            .spawn(move || {
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                runtime.block_on(deliver(client, queue, stop));
                // Does not wait for a name that is still being looked up.
                runtime.shutdown_background();
            })
            .map_err(|error| Error::setup("the thread that sends telemetry cannot be started", error))?;
        Ok(courier)
    }

    /// A client for one exporter, each of whose requests may take up to `timeout`.
    pub(crate) fn client(&self, timeout: Duration) -> impl HttpClient + 'static {
        Carried { courier: self.clone(), timeout }
    }

    /// Abandons what is on its way, and fails at once whatever comes later.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Why a request last failed.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn deliver(client: reqwest::Client, mut queue: mpsc::UnboundedReceiver<Job>, stop: CancellationToken) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            job = queue.recv() => match job {
                Some(job) => drop(under_way.spawn(job.run(client.clone()))),
                None => break,
            },
            Some(_) = under_way.join_next() => {}
        }
    }
}

impl Job {
    async fn run(self, client: reqwest::Client) {
        let answer = match tokio::time::timeout(self.timeout, client.send_bytes(self.request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        };
        // The exporter may have gone away meanwhile.
        let _gone = self.reply.send(answer);
    }
}

#[derive(Debug)]
struct Carried {
    courier: Courier,
    timeout: Duration,
}

impl HttpClient for Carried {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let job = Job { request, timeout: self.timeout, reply };
            let answer = match self.courier.jobs.send(job) {
                Ok(()) => answer.await.unwrap_or_else(|_| Err("telemetry is shut down".into())),
                Err(_) => Err("telemetry is shut down".into()),
            };
            let failure = match &answer {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(format!("the collector answered {}", response.status())),
                Err(error) => Some(shown(error.as_ref())),
            };
            if failure.is_some() {
                *self.courier.last_error.lock().unwrap_or_else(PoisonError::into_inner) = failure;
            }
            answer
        })
    }
}

/// The cause alone: the address may hold a password.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<reqwest::Error>().map(std::error::Error::source) {
        Some(Some(cause)) => error_chain(cause),
        Some(None) => "the request failed".to_owned(),
        None => error_chain(error),
    }
}
