//! Who calls, known to everything that runs for one request: what the outermost layers and the server tell the ones
//! further in, and hear from them.

use std::cell::RefCell;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::Principal;

thread_local! {
    /// Whoever works [within](Caller::within) a caller takes it away again, so nothing is left to drop when a thread ends,
    /// and saying so spares each access a look at whether the thread has.
    static CURRENT: ManuallyDrop<RefCell<Place>> =
        const { ManuallyDrop::new(RefCell::new(Place { in_request: false, caller: Caller(None) })) };
}

/// What a thread works for.
struct Place {
    in_request: bool,
    /// Outside of any request it is nobody, and stays so.
    caller: Caller,
}

/// Who makes the request that this thread is working on: nobody yet, or the [`Principal`] that authentication found.
///
/// A layer that wants to know, also when the request is refused, hangs up or panics further in, keeps a `Caller` and
/// runs what is further in [within](Self::within) it; the authenticate layer [tells](Self::tell). Telemetry asks for the
/// [current](Self::current) one when something is logged. Nothing of it allocates.
///
/// What a handler spawns runs for nobody unless it is [carried](Self::carry) along.
///
/// ```
/// # use halfbyte_core::{Caller, Principal, TenantId};
/// # use jiff::Timestamp;
/// # let principal = Principal::builder("ada", TenantId::new("acme").unwrap(), Timestamp::MAX).build();
/// let mut caller = Caller::default();
/// caller.within(|| {
///     Caller::tell(&principal);
///     assert_eq!(Caller::current().unwrap().subject(), "ada");
/// });
/// assert_eq!(caller.principal().unwrap().subject(), "ada");
/// assert!(Caller::current().is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Principal>);

impl Caller {
    /// The principal, once it is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.0.as_ref()
    }

    /// Says who makes the request that this thread is working on; the first word counts. Outside of any request it is
    /// not heard.
    pub fn tell(principal: &Principal) {
        let _ended = CURRENT.try_with(|current| {
            let mut current = current.borrow_mut();
            if current.in_request && current.caller.0.is_none() {
                current.caller.0 = Some(principal.clone());
            }
        });
    }

    /// The principal of the request that this thread is working on, once it is known.
    pub fn current() -> Option<Principal> {
        Self::with_current(|principal| principal.cloned())
    }

    /// As [`current`](Self::current), without the reference count. `look` must neither [tell](Self::tell) nor work
    /// [within](Self::within) another.
    pub fn with_current<T>(look: impl FnOnce(Option<&Principal>) -> T) -> T {
        let mut look = Some(look);
        // A thread that ends works on no request any more; what its destructors log is no reason to panic.
        let seen = CURRENT.try_with(|current| {
            let current = current.try_borrow().ok()?;
            let look = look.take()?;
            Some(look(current.caller.principal()))
        });
        match (seen.ok().flatten(), look) {
            (Some(seen), _) => seen,
            (None, Some(look)) => look(None),
            (None, None) => unreachable!("it was called"),
        }
    }

    /// Runs `work` for this request. What is told meanwhile is known here afterwards, also when `work` panics.
    #[inline]
    pub fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let was_in_request = self.change_places(true);
        let _entered = Entered { caller: self, was_in_request };
        work()
    }

    /// With the one that this thread works for; answers whether it did for any. A thread that ends may have no place for
    /// one any more; what its destructors do is done for nobody.
    #[inline]
    fn change_places(&mut self, in_request: bool) -> bool {
        let changed = CURRENT.try_with(|current| {
            let mut current = current.borrow_mut();
            mem::swap(&mut current.caller, self);
            mem::replace(&mut current.in_request, in_request)
        });
        changed.unwrap_or_default()
    }

    /// A future that runs for the request that this thread is working on, wherever it is polled.
    ///
    /// ```
    /// # use halfbyte_core::Caller;
    /// # async fn example(report: impl Future<Output = ()> + Send + 'static) {
    /// tokio::spawn(Caller::carry(report));
    /// # }
    /// ```
    pub fn carry<F: Future>(future: F) -> Carried<F> {
        Carried { future, caller: Self(Self::current()) }
    }
}

struct Entered<'a> {
    /// Holds the one around it meanwhile.
    caller: &'a mut Caller,
    was_in_request: bool,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.caller.change_places(self.was_in_request);
    }
}

pin_project! {
    /// The future of [`Caller::carry`].
    #[derive(Debug)]
    pub struct Carried<F> {
        #[pin]
        future: F,
        caller: Caller,
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.caller.within(|| this.future.poll(cx))
    }
}

/// The address at the other end of the connection, in the request's extensions: a client, or the proxy in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use jiff::Timestamp;

    use super::*;
    use crate::TenantId;

    fn principal(subject: &str) -> Principal {
        Principal::builder(subject, TenantId::new("acme").expect("valid"), Timestamp::MAX).build()
    }

    fn current() -> Option<String> {
        Caller::with_current(|principal| principal.map(|principal| principal.subject().to_owned()))
    }

    #[test]
    fn what_is_told_outside_of_a_request_is_nobodys() {
        Caller::tell(&principal("ada"));
        assert_eq!(current(), None);
        Caller::default().within(|| assert_eq!(current(), None));
        Caller::tell(&principal("ada"));
        assert_eq!(current(), None, "the request is over");
    }

    #[test]
    fn the_first_word_counts_and_ends_with_the_request() {
        let mut caller = Caller::default();
        caller.within(|| Caller::tell(&principal("ada")));
        assert_eq!(current(), None);
        caller.within(|| {
            Caller::tell(&principal("bob"));
            assert_eq!(current().as_deref(), Some("ada"));
        });
    }

    #[test]
    fn a_request_within_another_leaves_the_outer_one_alone_also_when_it_panics() {
        let (mut outer, mut inner) = (Caller::default(), Caller::default());
        outer.within(|| {
            Caller::tell(&principal("ada"));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                inner.within(|| {
                    Caller::tell(&principal("bob"));
                    panic!("broken");
                });
            }));
            assert!(panicked.is_err());
            assert_eq!(current().as_deref(), Some("ada"));
        });
        assert_eq!(inner.principal().map(Principal::subject), Some("bob"));
    }

    #[test]
    fn what_runs_while_a_thread_ends_has_a_caller_as_well() {
        struct Last(std::sync::mpsc::Sender<Option<String>>);

        impl Drop for Last {
            fn drop(&mut self) {
                let mut caller = Caller::default();
                caller.within(|| Caller::tell(&principal("ada")));
                let _heard = self.0.send(caller.principal().map(|principal| principal.subject().to_owned()));
                let _heard = self.0.send(current());
            }
        }

        thread_local! {
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }

        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(|| LAST.set(Some(Last(said)))).join().expect("no panic");
        assert_eq!(heard.into_iter().collect::<Vec<_>>(), [Some("ada".to_owned()), None]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_carried_along_runs_for_the_same_caller() {
        let mut caller = Caller::default();
        let future = caller.within(|| {
            Caller::tell(&principal("ada"));
            Caller::carry(async { current() })
        });
        assert_eq!(future.await.as_deref(), Some("ada"));
        assert_eq!(current(), None);
    }
}
