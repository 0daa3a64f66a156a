use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use halfbyte_core::Live;
use halfbyte_core::live::{Fetched, State};
use tokio::time::sleep;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use super::{Answer, Backend, life, millis, policy, secs, start, warm};

#[tokio::test(start_paused = true)]
async fn name_state_age_failures_and_last_error_are_visible() {
    let backend = Backend::new(Answer::Fail);
    let live = start(policy(), &backend);
    let cold = live.status();
    assert_eq!((&*cold.name, cold.state(), cold.generation, cold.failures), ("test", State::Cold, 0, 0));
    assert_eq!((cold.age(), cold.last_error()), (None, None));
    sleep(millis(1)).await;
    let failed = live.status();
    assert_eq!((failed.state(), failed.failures), (State::Cold, 1));
    assert_eq!(failed.last_error().as_deref(), Some("fetch 1 failed"));

    backend.answer(Answer::Number);
    live.changed(0).await;
    sleep(secs(4)).await;
    let fresh = live.status();
    assert_eq!((fresh.state(), fresh.generation, fresh.failures), (State::Fresh, 1, 0));
    assert_eq!((fresh.age(), fresh.last_error()), (Some(secs(4)), None));

    backend.answer(Answer::Fail);
    sleep(secs(8)).await;
    let stale = live.status();
    assert_eq!((stale.state(), stale.age()), (State::Stale, Some(secs(12))));
    assert!(stale.failures > 0 && stale.last_error().is_some());
    sleep(secs(29)).await;
    assert_eq!((live.status().state(), live.status().generation), (State::Expired, 1));
    let words: Vec<_> = [State::Cold, State::Fresh, State::Stale, State::Expired].map(State::as_str).into();
    assert_eq!(words, ["cold", "fresh", "stale", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn debug_shows_name_state_and_generation_and_never_the_value() {
    let source = async || Ok(Fetched::new("hunter2".to_owned()));
    let live = Live::start("token", policy(), source, &life());
    let snapshot = live.get().await.expect("loaded");
    assert_eq!(format!("{live:?}"), "Live { name: \"token\", state: Fresh, generation: 1, .. }");
    assert_eq!(format!("{snapshot:?}"), "Snapshot { generation: 1, .. }");
    assert!(!format!("{live:#?} {snapshot:#?} {:#?}", live.status()).contains("hunter2"));
}

/// Listens to the log of this thread until the answer is dropped.
///
/// Other tests log meanwhile, and a line whose very first use falls together with the arrival of a listener may be taken
/// for one that nobody listens to. So each line is used first, and asked about again after.
async fn listen(listener: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    let backend = Backend::new(Answer::Fail);
    let live = start(policy(), &backend);
    sleep(secs(5)).await;
    backend.answer(Answer::Number);
    live.changed(0).await;
    backend.answer(Answer::Fail);
    sleep(secs(50)).await;
    let listening = tracing::subscriber::set_default(listener);
    tracing::callsite::rebuild_interest_cache();
    listening
}

/// Counts the events of a level, and looks at a value with each, as a listener that masks secrets in the log does.
struct Curious {
    live: Live<u64>,
    most_verbose: Level,
    events: Arc<AtomicUsize>,
}

impl Curious {
    fn new(live: &Live<u64>, most_verbose: Level) -> (Self, Arc<AtomicUsize>) {
        let events = Arc::new(AtomicUsize::new(0));
        (Self { live: live.clone(), most_verbose, events: events.clone() }, events)
    }
}

impl Subscriber for Curious {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("halfbyte_core::live") && *metadata.level() <= self.most_verbose
    }

    fn event(&self, _event: &Event<'_>) {
        let _looked = (self.live.load().is_ok(), self.live.status().failures);
        self.events.fetch_add(1, Ordering::SeqCst);
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[test]
fn a_listener_to_the_log_may_read_the_value_that_is_logged_about() {
    let (done, through) = mpsc::channel();
    // On a thread of its own: what this guards against would never end.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let events = runtime.expect("a runtime").block_on(async {
            let backend = Backend::new(Answer::Fail);
            let live = start(policy(), &backend);
            let (listener, events) = Curious::new(&live, Level::TRACE);
            let _listening = listen(listener).await;
            sleep(secs(60)).await;
            backend.answer(Answer::Number);
            live.changed(0).await;
            backend.answer(Answer::Fail);
            sleep(secs(50)).await;
            events.load(Ordering::SeqCst)
        });
        done.send(events)
    });
    let events = through.recv_timeout(secs(20)).expect("the listener is not locked out");
    assert!(events >= 4, "failures, recovery and expiry are logged: {events}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_away_for_a_day_does_not_fill_the_log() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    let (listener, warnings) = Curious::new(&live, Level::WARN);
    let _listening = listen(listener).await;
    backend.answer(Answer::Fail);
    sleep(secs(24 * 3600)).await;
    assert!(backend.fetches() > 2000);
    let warnings = warnings.load(Ordering::SeqCst);
    assert!((5..30).contains(&warnings), "{warnings} warnings");
}
