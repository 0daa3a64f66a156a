use halfbyte_core::ProductId;
use halfbyte_core::config::{Config, Environment, Variables};

use crate::BaggageKeys;

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
}
