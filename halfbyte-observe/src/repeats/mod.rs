//! Lines that are logged over and over: the first ones of a while are logged, the others are counted, and the count is
//! told.
//!
//! This is for warnings and errors: a dependency that is gone fails every request in the same words. Lines of lower
//! levels are left alone, since they say what happened, and how often is part of that.
//!
//! What is promised: of the lines with the same message from the same place in the program, [`FIRST`] are logged in each
//! [`WINDOW`]; their other fields do not count. How many more there were is told by one line from the same place, of the
//! same level, once the window is over: with the next event of any kind that is logged, or when telemetry shuts down.
//! It is sent where those lines would have been, which those of sending telemetry are not. Nothing else waits for it, since there is no thread for this. Lines let through and counts told add up to what was
//! logged, also when the table is full: what is evicted is told early. Spans keep all of their events.
//!
//! The decision is a layer's and not a filter's, so that all outputs agree on it; it says no through filters, since
//! `tracing-subscriber` forgets to reset their state when a layer itself says no.

mod line;
mod table;

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use halfbyte_core::{Caller, Clock};
use opentelemetry::Context as Trace;
use tracing::dispatcher::WeakDispatch;
use tracing::field::Value;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use self::line::Line;
use self::table::{Table, Told};

/// How many of the same line are logged in a window.
const FIRST: u32 = 10;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);

/// One line for each request, always.
const ACCESS: &str = "halfbyte::access";

/// That of the process, for the end of it.
static PROCESS: OnceLock<Repeats> = OnceLock::new();

thread_local! {
    /// Whether the line that this thread logs is only counted.
    static SILENCED: Cell<bool> = const { Cell::new(false) };
    /// While a count is told: that line is no other one.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Counts the lines that repeat; clones count together.
#[derive(Clone)]
pub(crate) struct Repeats(Arc<Shared>);

struct Shared {
    table: Table,
    clock: Clock,
    /// Of the hash, so that nobody can choose lines that meet.
    seed: std::hash::RandomState,
    dispatch: OnceLock<WeakDispatch>,
}

impl Repeats {
    pub(crate) fn new(clock: Clock) -> Self {
        let table = Table::new(FIRST, WINDOW);
        Self(Arc::new(Shared { table, clock, seed: Default::default(), dispatch: OnceLock::new() }))
    }

    /// The layer that decides. It comes before every one that [hears](Self::heard).
    pub(crate) fn decide<S>(&self) -> Filtered<Decide, Along, S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Decide(self.clone()).with_filter(Along)
    }

    /// The filter of a layer that gets the lines that are let through alone.
    pub(crate) fn heard(&self) -> Heard {
        Heard
    }

    /// The layer that tells the counts. It comes last, when the filters of the others are through with the event.
    pub(crate) fn tell<S>(&self) -> Filtered<Tell, Along, S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Tell(self.clone()).with_filter(Along)
    }

    /// Says where counts are told; before that they wait.
    pub(crate) fn attach(&self, dispatch: &Dispatch) {
        let _first_stays = self.0.dispatch.set(dispatch.downgrade());
    }

    /// Makes this the one of the process; the first one stays.
    pub(crate) fn install(&self) {
        let _first_stays = PROCESS.set(self.clone());
    }

    /// Tells what is due.
    fn tell_due(&self) {
        let table = &self.0.table;
        if table.is_anything_held() && !TELLING.get() {
            let now = self.now();
            table.take_due(now, |told| self.say(&told));
        }
    }

    /// Tells everything, due or not.
    pub(crate) fn tell_all(&self) {
        self.0.table.take_all(|told| self.say(&told));
    }

    /// Logs the count from where the line came from. It belongs to no request, whoever's turn it is.
    fn say(&self, told: &Told) {
        let Some(dispatch) = self.0.dispatch.get().and_then(WeakDispatch::upgrade) else { return };
        let Some(message) = told.from.fields().field("message") else { return };
        let (text, count, window) = (told.text.as_str(), told.count, WINDOW.as_secs());
        let said = format_args!("{text} ({count} more like this within {window} s)");
        let values = [(&message, Some(&said as &dyn Value))];
        let values = told.from.fields().value_set(&values);
        let event = Event::new_child_of(None, told.from, &values);
        let _telling = Telling::begin();
        let nowhere = Trace::new();
        // Of what sends telemetry none is sent, or it would feed itself.
        let nowhere = if told.suppressed { nowhere.with_telemetry_suppressed() } else { nowhere };
        let _no_trace = nowhere.attach();
        Caller::default().within(|| {
            if dispatch.enabled(told.from) {
                dispatch.event(&event);
            }
        });
    }

    fn now(&self) -> i64 {
        self.0.clock.now().as_millisecond()
    }
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeats")
    }
}

/// Tells everything that the process still holds back; for its end.
pub(crate) fn tell_all() {
    if let Some(repeats) = PROCESS.get() {
        repeats.tell_all();
    }
}

/// Whether lines such as this one are counted.
fn is_counted(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN && metadata.target() != ACCESS
}

/// See [`Repeats::decide`].
#[derive(Debug)]
pub(crate) struct Decide(Repeats);

impl<S: Subscriber> Layer<S> for Decide {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if is_counted(metadata) {
            let silenced = !TELLING.get() && {
                let Self(Repeats(shared)) = self;
                // Formats, and may log while it does: nothing is locked or decided yet.
                let line = Line::of(event, Trace::is_current_telemetry_suppressed(), &shared.seed);
                !shared.table.admit(&line, self.0.now())
            };
            SILENCED.set(silenced);
        }
        true
    }
}

/// The filter of the layers that decide and tell, which go along with those of the outputs: what no output wants is off where it is
/// written, at the cost of one comparison. One layer without a filter would make the registry ask all of them each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Along;

impl<S> Filter<S> for Along {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::never()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }
}

/// See [`Repeats::heard`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard;

impl<S> Filter<S> for Heard {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // Never always: `tracing::enabled!` leaves its answer behind in the state of the filters, and what is not asked for
        // anew would be refused with that.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // None would hide the hint of the filter that it is joined with.
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        !(is_counted(event.metadata()) && SILENCED.get())
    }
}

/// See [`Repeats::tell`].
#[derive(Debug)]
pub(crate) struct Tell(Repeats);

impl<S: Subscriber> Layer<S> for Tell {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        self.0.tell_due();
    }
}

/// Until it is dropped, also by a panic.
struct Telling(());

impl Telling {
    fn begin() -> Self {
        TELLING.set(true);
        Self(())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::SignedDuration;
    use tracing::field::{Field, Visit};
    use tracing_subscriber::filter::FilterExt as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{EnvFilter, Registry, registry};

    use super::*;
    use crate::subscriber::BoxedLayer;

    /// What an output got: level, target and message, and whether it was said within a span.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Output {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            struct Message(String);
            impl Visit for Message {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    if field.name() == "message" {
                        self.0 = format!("{value:?}");
                    }
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            let (meta, caller) = (event.metadata(), Caller::current().map(|_| " for someone").unwrap_or_default());
            let unsent = if Trace::is_current_telemetry_suppressed() { " unsent" } else { "" };
            let line = format!("{} {} {}{caller}{unsent}", meta.level(), meta.target(), message.0);
            self.0.lock().unwrap().push(line);
        }
    }

    impl Output {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    struct Kit {
        repeats: Repeats,
        clock: Clock,
        /// As the console and OTLP.
        outputs: [Output; 2],
        dispatch: Dispatch,
    }

    impl Kit {
        fn new() -> Self {
            let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
            let (repeats, outputs) = (Repeats::new(clock.clone()), [Output::default(), Output::default()]);
            let mut layers: Vec<BoxedLayer<Registry>> = vec![repeats.decide().boxed()];
            for output in &outputs {
                let filter = EnvFilter::new("info,quiet=off").and(repeats.heard());
                layers.push(output.clone().with_filter(filter).boxed());
            }
            layers.push(repeats.tell().boxed());
            let dispatch = Dispatch::new(registry().with(layers));
            repeats.attach(&dispatch);
            Self { repeats, clock, outputs, dispatch }
        }

        /// What was heard, by both alike.
        fn heard(&self, log: impl FnOnce()) -> Vec<String> {
            tracing::dispatcher::with_default(&self.dispatch, log);
            let [console, otlp] = self.outputs.each_ref().map(Output::take);
            assert_eq!(console, otlp);
            console
        }

        fn later(&self, seconds: i64) {
            self.clock.jump(SignedDuration::from_secs(seconds));
        }
    }

    fn warn(who: &str) {
        tracing::warn!(target: "t", who, "the collector is down");
    }

    #[test]
    fn a_line_is_heard_after_somebody_asked_for_one_that_is_not() {
        let kit = Kit::new();
        let heard = kit.heard(|| {
            let _some_output_might = tracing::enabled!(target: "quiet", Level::INFO);
            tracing::info!(target: "t", "the order is in");
        });
        assert_eq!(heard, ["INFO t the order is in"]);
    }

    #[test]
    fn what_no_output_wants_is_off_where_it_is_written() {
        use tracing::callsite::Callsite as _;
        let kit = Kit::new();
        let quiet = tracing::callsite!(name: "a line", kind: tracing::metadata::Kind::EVENT, target: "quiet", level: Level::INFO, fields: message);
        let wanted = tracing::callsite!(name: "a line", kind: tracing::metadata::Kind::EVENT, target: "t", level: Level::INFO, fields: message);
        assert!(kit.dispatch.register_callsite(quiet.metadata()).is_never());
        assert!(!kit.dispatch.register_callsite(wanted.metadata()).is_never());
    }

    #[test]
    fn a_line_that_repeats_is_logged_ten_times_and_then_counted() {
        let kit = Kit::new();
        let heard = kit.heard(|| (0..25).for_each(|n| warn(&n.to_string())));
        assert_eq!(heard, ["WARN t the collector is down"; 10], "whatever its fields are");
        kit.later(9);
        assert_eq!(kit.heard(|| tracing::info!(target: "t", "other")), ["INFO t other"]);
        kit.later(1);
        let told = "WARN t the collector is down (15 more like this within 10 s)";
        assert_eq!(kit.heard(|| tracing::info!(target: "t", "other")), ["INFO t other", told]);
        assert_eq!(kit.heard(|| warn("")), ["WARN t the collector is down"]);
    }

    #[test]
    fn what_is_left_at_the_end_is_told_then() {
        let kit = Kit::new();
        kit.heard(|| (0..11).for_each(|_| warn("")));
        let told = kit.heard(|| kit.repeats.tell_all());
        assert_eq!(told, ["WARN t the collector is down (1 more like this within 10 s)"]);
        assert!(kit.heard(|| kit.repeats.tell_all()).is_empty());
    }

    #[test]
    fn a_count_shows_no_part_of_a_live_secret_that_its_message_was_cut_in() {
        let secret = "0123456789-0123456789-0123456789";
        let _known = halfbyte_core::fingerprint::register(secret.as_bytes());
        let (kit, before) = (Kit::new(), "x".repeat(140));
        kit.heard(|| (0..11).for_each(|_| tracing::warn!(target: "t", "{before}{secret}")));
        let told = kit.heard(|| kit.repeats.tell_all());
        assert!(told[0].contains(&format!("{before}[REDACTED] (1 more")), "{told:?}");
    }

    #[test]
    fn a_count_is_told_however_often_it_is_the_same() {
        let kit = Kit::new();
        kit.heard(|| (0..10).for_each(|_| warn("")));
        for _ in 0..15 {
            assert_eq!(kit.heard(|| warn("")), [""; 0]);
            assert_eq!(kit.heard(|| kit.repeats.tell_all()).len(), 1);
        }
    }

    #[test]
    fn lines_that_differ_and_lines_of_lower_levels_and_the_access_log_all_pass() {
        let kit = Kit::new();
        let heard = kit.heard(|| {
            for n in 0..30 {
                tracing::error!(target: "t", "order {n}");
                tracing::info!(target: "t", "made a label");
                tracing::warn!(target: ACCESS, "GET / 200");
            }
        });
        assert_eq!(heard.len(), 90);
    }

    #[test]
    fn what_nobody_hears_is_told_to_nobody() {
        let kit = Kit::new();
        kit.heard(|| (0..30).for_each(|_| tracing::warn!(target: "quiet", "not heard")));
        kit.later(10);
        assert_eq!(kit.heard(|| tracing::info!(target: "t", "other")), ["INFO t other"]);
    }

    #[test]
    fn after_a_line_that_is_silenced_the_next_one_is_heard() {
        let kit = Kit::new();
        let heard = kit.heard(|| {
            for _ in 0..12 {
                warn("");
                tracing::info!(target: "t", "heard");
                tracing::error!(target: "t", "order {}", fastrand::u64(..));
            }
        });
        assert_eq!(heard.iter().filter(|line| *line == "INFO t heard").count(), 12);
        assert_eq!(heard.iter().filter(|line| line.starts_with("ERROR")).count(), 12);
        assert_eq!(heard.len(), 12 + 12 + 10);
    }

    #[test]
    fn a_count_belongs_to_no_request() {
        let kit = Kit::new();
        kit.heard(|| (0..11).for_each(|_| warn("")));
        kit.later(10);
        let tenant = halfbyte_core::TenantId::new("acme").unwrap();
        let principal = halfbyte_core::Principal::builder("ada", tenant, jiff::Timestamp::MAX).build();
        let heard = kit.heard(|| {
            Caller::default().within(|| {
                Caller::tell(&principal);
                tracing::info!(target: "t", "other");
            });
        });
        assert_eq!(heard[0], "INFO t other for someone");
        assert_eq!(heard[1], "WARN t the collector is down (1 more like this within 10 s)");
    }

    #[test]
    fn lines_that_are_not_sent_have_a_count_of_their_own_that_is_not_sent() {
        let kit = Kit::new();
        let heard = kit.heard(|| {
            (0..12).for_each(|_| warn(""));
            let _sending = Trace::enter_telemetry_suppressed_scope();
            (0..13).for_each(|_| warn(""));
        });
        assert_eq!(heard[..10], ["WARN t the collector is down"; 10]);
        assert_eq!(heard[10..], ["WARN t the collector is down unsent"; 10]);
        // Whoever tells them.
        let mut told = kit.heard(|| {
            let _sending = Trace::enter_telemetry_suppressed_scope();
            kit.repeats.tell_all();
        });
        told.sort();
        let [sent, unsent] = ["(2 more like this within 10 s)", "(3 more like this within 10 s) unsent"];
        assert_eq!(told, [sent, unsent].map(|count| format!("WARN t the collector is down {count}")));
    }

    #[test]
    fn a_message_that_panics_leaves_nothing_locked() {
        struct Broken;
        impl fmt::Display for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("broken")
            }
        }
        let kit = Kit::new();
        kit.heard(|| {
            let panicked = std::panic::catch_unwind(|| tracing::warn!(target: "t", "{Broken}"));
            assert!(panicked.is_err());
        });
        assert_eq!(kit.heard(|| warn("")).len(), 1);
    }

    #[test]
    fn threads_together_are_let_through_and_counted_exactly() {
        let kit = Kit::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| tracing::dispatcher::with_default(&kit.dispatch, || (0..500).for_each(|_| warn(""))));
            }
        });
        let mut heard = kit.outputs[0].take();
        assert_eq!(heard, ["WARN t the collector is down"; 10]);
        kit.outputs[1].take();
        heard = kit.heard(|| kit.repeats.tell_all());
        assert_eq!(heard, ["WARN t the collector is down (1990 more like this within 10 s)"]);
    }
}
