use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::buffer::{Budget, Buffer, Ended, Kept};
use super::{Keep, size};
use crate::trace::Stage;

/// How many locks there are: threads that work on different traces seldom meet.
const SHARDS: usize = 16;

/// Hands sampled spans on at once, and others when their trace turns out to be worth it; see [`Keep`].
pub(crate) struct Keeper<N> {
    next: N,
    shared: Arc<Shared>,
}

struct Shared {
    shards: Vec<Mutex<Buffer<SpanData>>>,
    budget: Arc<Budget>,
    since: Instant,
}

/// Tells what became of unsampled spans, wherever the [`Keeper`] is.
#[derive(Clone)]
pub(crate) struct Counts(Arc<Shared>);

impl<N> Keeper<N> {
    pub(crate) fn new(keep: &Keep, next: N) -> Self {
        let (budget, buffers) = keep.buffers(SHARDS);
        let shards = buffers.into_iter().map(Mutex::new).collect();
        Self { next, shared: Arc::new(Shared { shards, budget, since: Instant::now() }) }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts(self.shared.clone())
    }
}

impl Counts {
    pub(crate) fn read(&self) -> Kept {
        let mut sum = Kept::default();
        for shard in &self.0.shards {
            let counts = lock(shard).counts();
            sum.kept += counts.kept;
            sum.discarded += counts.discarded;
            sum.given_up += counts.given_up;
            sum.held += counts.held;
        }
        sum
    }

    /// What is held takes so many bytes, with what is remembered of open spans and of traces.
    pub(crate) fn bytes(&self) -> usize {
        self.0.budget.used()
    }
}

impl Shared {
    /// All spans of a trace meet in one.
    fn shard(&self, trace: TraceId) -> MutexGuard<'_, Buffer<SpanData>> {
        let shard = usize::from(trace.to_bytes()[15]) % SHARDS;
        lock(&self.shards[shard])
    }
}

fn lock(shard: &Mutex<Buffer<SpanData>>) -> MutexGuard<'_, Buffer<SpanData>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<N: SpanProcessor> Keeper<N> {
    fn begin(&self, span: &SpanContext, parent: Option<&SpanContext>) {
        if !span.is_sampled() {
            let parent = parent.filter(|parent| !parent.is_remote());
            let now = self.shared.since.elapsed();
            let mut shard = self.shared.shard(span.trace_id());
            let released = shard.start(now, span.span_id(), parent.map(SpanContext::span_id));
            drop(shard);
            released.into_iter().for_each(|span| self.next.on_end(span));
        }
    }
}

/// Nobody behind it wants to know what starts.
impl<N: SpanProcessor> Stage for Keeper<N> {
    fn starting(&self, span: &SpanContext, parent: Option<&SpanContext>, _attributes: &mut Vec<KeyValue>) {
        self.begin(span, parent);
    }
}

impl<N: SpanProcessor> SpanProcessor for Keeper<N> {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.begin(span.span_context(), Some(parent.span().span_context()).filter(|parent| parent.is_valid()));
        self.next.on_start(span, parent);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            return self.next.on_end(span);
        }
        let ended = Ended {
            span: span.span_context.span_id(),
            is_local_root: span.parent_span_is_remote || span.parent_span_id == opentelemetry::SpanId::INVALID,
            erred: matches!(span.status, Status::Error { .. }),
            took: span.end_time.duration_since(span.start_time).unwrap_or_default(),
            bytes: size::of(&span),
        };
        let mut shard = self.shared.shard(span.span_context.trace_id());
        let released = shard.end(ended, span);
        // Whoever is next may take its time.
        drop(shard);
        released.into_iter().for_each(|span| self.next.on_end(span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    /// What has been open for long by now goes on, such as a request that hangs. What else is not decided is given up: had
    /// something erred, it would be.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let now = self.shared.since.elapsed();
        for shard in &self.shared.shards {
            let released = {
                let mut shard = lock(shard);
                let released = shard.expire(now);
                shard.close();
                released
            };
            released.into_iter().for_each(|span| self.next.on_end(span));
        }
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

impl<N: fmt::Debug> fmt::Debug for Keeper<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("next", &self.next).finish_non_exhaustive()
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::time::SystemTime;

    use super::super::testing::{Collected, names};
    use super::super::{Recording, Sampler};
    use super::*;

    /// A provider whose parent-based sampler takes nothing by itself.
    fn provider(keep: Keep) -> (SdkTracerProvider, Collected, Counts) {
        let collected = Collected::default();
        let keeper = Keeper::new(&keep, collected.clone());
        let counts = keeper.counts();
        let off = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
        let sampler = Sampler::read(&halfbyte_core::config::Config::parse(off).unwrap().other).unwrap();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Recording::new(sampler, true))
            .with_span_processor(keeper)
            .build();
        (provider, collected, counts)
    }

    fn remote(trace: u128, sampled: bool) -> Context {
        let flags = TraceFlags::default().with_sampled(sampled);
        let parent = SpanContext::new(TraceId::from(trace), SpanId::from(99), flags, true, TraceState::NONE);
        Context::new().with_remote_span_context(parent)
    }

    fn start(provider: &SdkTracerProvider, name: &'static str, parent: &Context) -> Context {
        parent.with_span(provider.tracer("test").start_with_context(name, parent))
    }

    fn err(context: &Context) {
        context.span().set_status(Status::error("broken"));
        context.span().end();
    }

    #[test]
    fn a_trace_that_errs_goes_on_whole_with_the_flags_that_others_were_told() {
        let (provider, collected, counts) = provider(Keep::default());
        let root = start(&provider, "root", &remote(7, false));
        let first = start(&provider, "first", &root);
        assert!(first.span().is_recording() && !first.span().span_context().is_sampled());
        start(&provider, "grandchild", &first).span().end();
        first.span().end();
        assert_eq!((names(&collected), counts.read().held), (vec![], 2));
        err(&start(&provider, "second", &root));
        assert_eq!(names(&collected), ["grandchild", "first", "second"]);
        root.span().end();
        assert_eq!(names(&collected), ["grandchild", "first", "second", "root"]);
        assert!(collected.spans().iter().all(|span| !span.span_context.is_sampled()));
        assert_eq!(counts.read(), Kept { kept: 4, ..Kept::default() });
    }

    #[test]
    fn a_trace_that_is_slow_by_its_own_timestamps_goes_on_and_others_do_not() {
        let (provider, collected, counts) = provider(Keep::default().slower_than(Duration::from_secs(2)));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (name, seconds) in [("fast", 1), ("slow", 2)] {
            let span =
                provider.tracer("test").span_builder(name).with_start_time(at(0)).start(&provider.tracer("test"));
            let root = Context::new().with_span(span);
            start(&provider, "child", &root).span().end();
            root.span().end_with_timestamp(at(seconds));
        }
        assert_eq!(names(&collected), ["child", "slow"]);
        assert_eq!(counts.read(), Kept { kept: 2, discarded: 2, ..Kept::default() });
    }

    #[test]
    fn a_sampled_trace_goes_on_at_once() {
        let (provider, collected, counts) = provider(Keep::default());
        let root = start(&provider, "root", &remote(7, true));
        start(&provider, "child", &root).span().end();
        assert_eq!(names(&collected), ["child"]);
        assert!(collected.spans()[0].span_context.is_sampled());
        root.span().end();
        assert_eq!((names(&collected).len(), counts.read()), (2, Kept::default()));
    }

    #[test]
    fn two_local_roots_of_one_trace_are_decided_by_themselves() {
        let (provider, collected, counts) = provider(Keep::default());
        let (good, bad) = (start(&provider, "good", &remote(7, false)), start(&provider, "bad", &remote(7, false)));
        start(&provider, "of good", &good).span().end();
        start(&provider, "of bad", &bad).span().end();
        err(&bad);
        good.span().end();
        assert_eq!(names(&collected), ["of bad", "bad"]);
        assert_eq!(counts.read(), Kept { kept: 2, discarded: 2, ..Kept::default() });
    }

    #[test]
    fn a_process_that_calls_itself_has_two_local_roots() {
        let (provider, collected, counts) = provider(Keep::default());
        let client = start(&provider, "client", &Context::new());
        let sent = client.span().span_context().clone();
        let received = SpanContext::new(sent.trace_id(), sent.span_id(), sent.trace_flags(), true, TraceState::NONE);
        let server = start(&provider, "server", &Context::new().with_remote_span_context(received));
        err(&server);
        client.span().end();
        assert_eq!(names(&collected), ["server"]);
        assert_eq!(counts.read(), Kept { kept: 1, discarded: 1, ..Kept::default() });
    }

    #[test]
    fn spans_that_end_or_start_after_their_root_follow_it() {
        for erred in [true, false] {
            let (provider, collected, _) = provider(Keep::default());
            let root = start(&provider, "root", &Context::new());
            let child = start(&provider, "child", &root);
            if erred {
                err(&root);
            } else {
                root.span().end();
            }
            let late = start(&provider, "late", &child);
            child.span().end();
            start(&provider, "later", &child).span().end();
            err(&late);
            let expected: &[&str] = if erred { &["root", "child", "later", "late"] } else { &[] };
            assert_eq!(names(&collected), expected);
        }
    }

    #[test]
    fn what_is_held_stays_within_its_memory_and_errors_go_on_all_the_same() {
        let (provider, collected, counts) = provider(Keep::default().memory(20_000).slower_than(None));
        let roots: Vec<_> = (0..40).map(|_| start(&provider, "root", &Context::new())).collect();
        for root in &roots {
            start(&provider, "child", root).span().end();
            assert!(counts.bytes() <= 20_000, "{}", counts.bytes());
        }
        let lost = counts.read().given_up;
        assert!(lost > 0 && lost < 40, "{lost}");
        roots.iter().for_each(err);
        let counted = counts.read();
        assert_eq!(counted, Kept { kept: 80 - lost, given_up: lost, ..Kept::default() });
        assert_eq!(names(&collected).iter().filter(|name| **name == "root").count(), 40);
    }

    #[test]
    fn a_shutdown_gives_up_what_is_not_decided() {
        let (provider, collected, counts) = provider(Keep::default());
        let root = start(&provider, "root", &Context::new());
        start(&provider, "child", &root).span().end();
        provider.shutdown().unwrap();
        assert_eq!((names(&collected), counts.read()), (vec![], Kept { given_up: 1, ..Kept::default() }));
        assert!(collected.is_shut_down());
    }

    #[test]
    fn a_span_that_starts_while_the_provider_shuts_down_takes_no_memory() {
        let collected = Collected::default();
        let keeper = Keeper::new(&Keep::default(), collected.clone());
        let counts = keeper.counts();
        let span = |id: u64| {
            SpanContext::new(TraceId::from(7), SpanId::from(id), TraceFlags::default(), false, TraceState::NONE)
        };
        keeper.starting(&span(1), None, &mut Vec::new());
        assert!(counts.bytes() > 0);
        keeper.shutdown_with_timeout(Duration::ZERO).unwrap();
        keeper.starting(&span(2), None, &mut Vec::new());
        keeper.starting(&span(3), Some(&span(1)), &mut Vec::new());
        assert_eq!((counts.bytes(), counts.read()), (0, Kept::default()));
    }

    #[test]
    fn a_shutdown_keeps_what_has_been_open_for_long() {
        let slow = Duration::from_millis(20);
        let (provider, collected, counts) = provider(Keep::default().slower_than(slow));
        let root = start(&provider, "root", &remote(7, false));
        start(&provider, "child", &root).span().end();
        // Nothing starts meanwhile that would look at the others.
        std::thread::sleep(slow);
        provider.shutdown().unwrap();
        assert_eq!((names(&collected), counts.read()), (vec!["child".into()], Kept { kept: 1, ..Kept::default() }));
    }

    #[test]
    fn many_threads_lose_and_double_nothing() {
        let (provider, collected, counts) = provider(Keep::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let provider = &provider;
                scope.spawn(move || {
                    for trace in 0..200_u128 {
                        let root = start(provider, "root", &remote(thread * 1000 + trace + 1, false));
                        start(provider, "child", &root).span().end();
                        if trace % 4 == 0 { err(&root) } else { root.span().end() }
                    }
                });
            }
        });
        assert_eq!(counts.read(), Kept { kept: 400, discarded: 1200, ..Kept::default() });
        assert_eq!(names(&collected).len(), 400);
    }
}
