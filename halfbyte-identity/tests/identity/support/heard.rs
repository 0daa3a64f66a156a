use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Everything that is said through tracing at every level, by any thread of any test of this program.
///
/// For the whole program, as what is logged by a task or a blocking thread would not reach a listener of one thread.
#[derive(Clone, Copy, Debug)]
pub struct Heard;

static TEXT: Mutex<String> = Mutex::new(String::new());

impl Heard {
    pub fn listen() -> Self {
        static START: Once = Once::new();
        START.call_once(|| {
            let listening = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Self));
            listening.expect("nobody else listens");
        });
        Self
    }

    pub fn text(self) -> String {
        TEXT.lock().expect("not poisoned").clone()
    }
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let said = format!("{}={value:?}", field.name());
        let _infallible = writeln!(TEXT.lock().expect("not poisoned"), "{said}");
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut Self);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Self);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Self);
    }
}
