use std::path::PathBuf;

use halfbyte_core::ProductId;
use halfbyte_core::config::{Config, Environment, Variables};

use crate::{BaggageKeys, Keep, Redaction, UserHasher};

/// What [`init`](crate::init) needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) product: ProductId,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) environment: Environment,
    pub(crate) variables: Variables,
    pub(crate) taken_baggage: BaggageKeys,
    pub(crate) sent_baggage: BaggageKeys,
    pub(crate) redaction: Redaction,
    pub(crate) keep: Option<Keep>,
    pub(crate) users: Option<UserHasher>,
    pub(crate) spool: Option<PathBuf>,
    pub(crate) console: bool,
    pub(crate) scraped: bool,
}

impl Settings {
    /// The settings of `product` in `version`: how strict to be and where telemetry goes are taken from `config`.
    pub fn new(product: &ProductId, version: &str, config: &Config) -> Self {
        Self {
            product: product.clone(),
            version: version.to_owned(),
            namespace: None,
            environment: config.environment,
            variables: config.other.clone(),
            taken_baggage: BaggageKeys::none(),
            sent_baggage: BaggageKeys::none(),
            redaction: Redaction::default(),
            keep: Some(Keep::default()),
            users: None,
            spool: Some(config.home.join("telemetry").join(product.as_str())),
            console: true,
            scraped: false,
        }
    }

    /// What the product is part of (`service.namespace`): products of one company, say, that one collector serves.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Takes over inbound baggage of these keys; by default none.
    pub fn take_baggage(mut self, keys: BaggageKeys) -> Self {
        self.taken_baggage = keys;
        self
    }

    /// Sends baggage of these keys along with calls; by default none.
    pub fn send_baggage(mut self, keys: BaggageKeys) -> Self {
        self.sent_baggage = keys;
        self
    }

    /// What counts as a secret, on top of what [`Redaction`] knows by itself.
    #[must_use]
    pub fn redaction(self, redaction: Redaction) -> Self {
        Self { redaction, ..self }
    }

    /// Which traces are kept although they are not sampled; `None` keeps none. By default those that erred or were slow.
    #[must_use]
    pub fn keep(self, keep: impl Into<Option<Keep>>) -> Self {
        Self { keep: keep.into(), ..self }
    }

    /// Names users on spans and logs, by a hash. By default they name none.
    #[must_use]
    pub fn users(self, users: UserHasher) -> Self {
        Self { users: Some(users), ..self }
    }

    /// The folder for what a collector cannot be given at the moment; `None` holds it in memory, up to 32 MiB a signal.
    /// By default one in `HALFBYTE_HOME`. It is made where it is not there and something is exported; where it cannot be,
    /// that is said in the log, and it is held in memory.
    #[must_use]
    pub fn spool(self, folder: impl Into<Option<PathBuf>>) -> Self {
        Self { spool: folder.into(), ..self }
    }

    /// Whether the log is on the console, besides where it is sent to; by default it is. Panics are shown in any case.
    #[must_use]
    pub fn console(self, shown: bool) -> Self {
        Self { console: shown, ..self }
    }

    /// Keeps metrics also for a [`Scraper`](crate::prometheus::Scraper), whatever the `OTEL_*` variables say of their export. By
    /// default metrics that are not exported are not made.
    #[must_use]
    pub fn scraped(self) -> Self {
        Self { scraped: true, ..self }
    }
}
