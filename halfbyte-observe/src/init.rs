use std::sync::{Mutex, PoisonError};

use halfbyte_core::Clock;
use opentelemetry::{Context, global};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, dispatcher};
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, registry};

use crate::chain::Chain;
use crate::export::{Built, Plan, Providers};
use crate::prometheus::Scraper;
use crate::repeats::Repeats;
use crate::resource::resource;
use crate::subscriber::{self, BoxedLayer};
use crate::{Error, Instrumentation, Propagators, Settings, Telemetry, console, panics};

/// Whether this process has been through [`init`].
static DONE: Mutex<bool> = Mutex::new(false);

/// Sets telemetry up for this process: the log, and traces, metrics and logs over OTLP as the `OTEL_*` variables say.
/// Call it once, first thing in `main`, and before a [`ServerLayer`](crate::ServerLayer) is made.
///
/// Needs no Tokio runtime, and nothing that it starts runs on the product's.
///
/// ```no_run
/// use std::time::Duration;
/// use halfbyte_core::{ProductId, config::Config};
/// use halfbyte_observe::Settings;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::from_env()?;
/// let settings = Settings::new(&ProductId::new("parcel")?, env!("CARGO_PKG_VERSION"), &config);
/// let telemetry = halfbyte_observe::init(settings)?;
/// tracing::info!("ready");
/// let flushed = telemetry.shutdown(Duration::from_secs(5)).await;
/// if !flushed.is_complete() {
///     eprintln!("{flushed}");
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// It was called before, or the process has another `tracing` subscriber; a variable has a value that cannot be used;
/// the machine gives no thread. Nothing has been set up then. A logger of the `log` crate that is
/// there already is no error: it keeps the records of that crate, and a warning says so.
pub fn init(settings: Settings) -> Result<Telemetry, Error> {
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return Err(Error::already_initialized("telemetry is already set up: call init once, first thing in main"));
    }
    let mut plan = Plan::read(&settings.variables)?;
    plan.scraped = settings.scraped;
    let propagators = Propagators::read(&settings.variables)?
        .take_baggage(settings.taken_baggage.clone())
        .send_baggage(settings.sent_baggage.clone());
    let (resource, chain) = (resource(&settings)?, Chain::read(&settings)?);
    let repeats = Repeats::new(Clock::system());
    let filter = || Ok::<_, Error>(console::logs(&settings.variables)?.and(repeats.heard()));
    let shown = if settings.console { console::logs(&settings.variables)? } else { console::panics() };
    let console = console::layer(&settings).with_filter(shown.and(repeats.heard())).boxed();
    let mut layers: Vec<BoxedLayer<Registry>> = vec![repeats.decide().boxed(), console];
    // The exporters come last: they start threads, which an error above should not leave behind.
    let log_filter = filter()?;
    let Built { providers, scraped, export, complaints } =
        Providers::build(&plan, &resource, &chain, settings.spool.as_deref())?;
    if let Some(provider) = &providers.logs {
        layers.push(subscriber::logs(provider, log_filter));
    }
    if let Some(traces) = &providers.traces {
        layers.push(subscriber::traces(&traces.provider));
    }
    layers.push(repeats.tell().boxed());
    let instrumentation = Instrumentation::of_process(&providers, propagators.clone(), &settings, chain.exemplars());
    let telemetry = Telemetry::new(providers.clone(), export, instrumentation.clone());
    let dispatch = Dispatch::new(registry().with(layers));
    repeats.attach(&dispatch);
    dispatcher::set_global_default(dispatch).map_err(|_| {
        Error::already_initialized("this process has a tracing subscriber already: let init be the one to install it")
    })?;
    // Behind the subscriber, whose level it takes over.
    let logger = LogTracer::builder().with_max_level(LevelFilter::current().as_log()).init();
    repeats.install();
    panics::install(settings.redaction.clone());
    *done = true;
    drop(done);

    set_globals(providers, propagators);
    instrumentation.install();
    if let Some(reader) = scraped {
        Scraper::new(reader, chain).install();
    }
    if logger.is_err() {
        let why = "this process has a logger of the log crate already: its records go there and not to telemetry";
        tracing::warn!(target: "halfbyte::telemetry", "{why}");
    }
    for complaint in complaints {
        tracing::warn!(target: "halfbyte::telemetry", "{complaint}");
    }
    Ok(telemetry)
}

fn set_globals(providers: Providers, propagators: Propagators) {
    // The SDK may log that it was done: on the console alone, as everything that telemetry says of itself.
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    global::set_text_map_propagator(propagators);
    if let Some(traces) = providers.traces {
        global::set_tracer_provider(traces.provider);
    }
    if let Some(provider) = providers.metrics {
        global::set_meter_provider(provider);
    }
}
