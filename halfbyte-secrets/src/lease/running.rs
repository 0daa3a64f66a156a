use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Loans;
use crate::provider::Boxed;

/// Where the calls of one secret go that nobody waits for any more: they run on, since what they lend has to be known.
#[derive(Debug)]
pub(crate) struct Aside {
    loans: Loans,
    /// Dropping may happen anywhere.
    on: Handle,
    /// How much longer a call may take.
    patience: Duration,
    /// There is one at most.
    running: Mutex<Option<AbortHandle>>,
}

impl Aside {
    pub(crate) fn new(loans: Loans, on: Handle, patience: Duration) -> Self {
        Self { loans, on, patience, running: Mutex::default() }
    }

    pub(crate) fn on(&self) -> &Handle {
        &self.on
    }

    /// Waits for `call`, which runs on if that is given up; it then finds that who asked is dead. To be polled at once.
    pub(crate) fn run<T, F>(&self, call: impl FnOnce(Weak<()>) -> F) -> Running<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let asker = Arc::new(());
        Running { call: Some(Box::pin(call(Arc::downgrade(&asker)))), asker: Some(asker), aside: self }
    }

    /// What ran before has had its time, and more: a fetch begins after another one has ended.
    fn take<T: Send + 'static>(&self, call: Boxed<'static, T>) {
        let patience = self.patience;
        let task = self.loans.spawn(&self.on, async move {
            let _whoever_asked_is_gone = timeout(patience, call).await;
        });
        let before = self.running.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        if let Some(before) = before {
            before.abort();
        }
    }
}

/// A call that somebody waits for.
pub(crate) struct Running<'a, T: Send + 'static> {
    /// None when it is over, be it by a panic.
    call: Option<Boxed<'static, T>>,
    /// None when nobody waits any more.
    asker: Option<Arc<()>>,
    aside: &'a Aside,
}

impl<T: Send + 'static> Future for Running<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(mut call) = self.call.take() else { return Poll::Pending };
        let answer = call.as_mut().poll(cx);
        if answer.is_pending() {
            self.call = Some(call);
        }
        answer
    }
}

impl<T: Send + 'static> Drop for Running<'_, T> {
    fn drop(&mut self) {
        drop(self.asker.take());
        if let Some(call) = self.call.take() {
            self.aside.take(call);
        }
    }
}
