use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Loans;
use crate::provider::Boxed;

/// Where the calls of one secret go that nobody waits for any more: they run on, since what they lend has to be known. Each has as
/// much time again as a fetch, so that it ends before the fetch after it is too late as well.
#[derive(Debug)]
pub(crate) struct Aside {
    loans: Loans,
    /// Dropping may happen anywhere.
    on: Handle,
    /// How much longer a call may take.
    patience: Duration,
}

impl Aside {
    pub(crate) fn new(loans: Loans, on: Handle, patience: Duration) -> Self {
        Self { loans, on, patience }
    }

    pub(crate) fn on(&self) -> &Handle {
        &self.on
    }

    /// Waits for `call`, which runs on if that is given up once it has begun; it then finds that who asked is dead.
    pub(crate) fn run<T, F>(&self, call: impl FnOnce(Weak<()>) -> F) -> Running<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let asker = Arc::new(());
        Running {
            call: Some(Box::pin(call(Arc::downgrade(&asker)))),
            has_begun: false,
            asker: Some(asker),
            aside: self,
        }
    }

    fn take<T: Send + 'static>(&self, call: Boxed<'static, T>) {
        let patience = self.patience;
        self.loans.spawn(&self.on, async move {
            let _whoever_asked_is_gone = timeout(patience, call).await;
        });
    }
}

/// A call that somebody waits for.
pub(crate) struct Running<'a, T: Send + 'static> {
    /// None when it is over, be it by a panic.
    call: Option<Boxed<'static, T>>,
    /// What has not asked for anything yet needs not run on.
    has_begun: bool,
    /// None when nobody waits any more.
    asker: Option<Arc<()>>,
    aside: &'a Aside,
}

impl<T: Send + 'static> Future for Running<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(mut call) = self.call.take() else { return Poll::Pending };
        self.has_begun = true;
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
        if let Some(call) = self.call.take().filter(|_| self.has_begun) {
            self.aside.take(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use opentelemetry::global;

    use super::*;
    use crate::journal::Audience;
    use crate::{Files, metrics};

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_begun_runs_on_and_one_that_has_not_never_begins() {
        let reads = metrics::reads(&global::meter("test"));
        let audience = Audience { who: "test".into(), provider: "test", listener: None, reads };
        let loans = Loans::new(Arc::new(Files::new(".")), audience);
        let aside = Aside::new(loans, Handle::current(), Duration::from_secs(10));
        let progress = Arc::new(AtomicUsize::new(0));
        for (is_polled, steps) in [(false, 0), (true, 2)] {
            let counted = progress.clone();
            let mut running = Box::pin(aside.run(async move |asker: Weak<()>| {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(5)).await;
                assert_eq!(asker.strong_count(), 0);
                counted.fetch_add(1, Ordering::SeqCst);
            }));
            if is_polled {
                assert!(running.as_mut().now_or_never().is_none());
            }
            drop(running);
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(progress.load(Ordering::SeqCst), steps, "polled: {is_polled}");
        }
    }
}
